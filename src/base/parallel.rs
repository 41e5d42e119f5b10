//! Parallel work on many items, on all CPUs.

use std::sync::atomic::{AtomicUsize, Ordering};
use std::thread;

/// Applies `work` to each item; results are in the order of the items. Each thread has its own `scratch`, such as a
/// buffer.
///
/// # Errors
/// If several threads fail, the error of the thread that started first.
pub(crate) fn map<T, S, R, E>(
    items: &[T],
    scratch: impl Fn() -> S + Sync,
    work: impl Fn(&mut S, &T) -> Result<R, E> + Sync,
) -> Result<Vec<R>, E>
where
    T: Sync,
    R: Send,
    E: Send,
{
    let next = AtomicUsize::new(0);
    let worker = || {
        let (mut scratch, mut done) = (scratch(), Vec::new());
        loop {
            let place = next.fetch_add(1, Ordering::Relaxed);
            let Some(item) = items.get(place) else { return Ok(done) };
            done.push((place, work(&mut scratch, item)?));
        }
    };
    let threads = thread::available_parallelism().map_or(1, usize::from).min(items.len());
    let mut done = thread::scope(|scope| {
        let workers: Vec<_> = (0..threads).map(|_| scope.spawn(worker)).collect();
        workers.into_iter().try_fold(Vec::with_capacity(items.len()), |mut done, worker| {
            done.extend(worker.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic))?);
            Ok(done)
        })
    })?;
    done.sort_unstable_by_key(|(place, _)| *place);
    Ok(done.into_iter().map(|(_, made)| made).collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn answers_come_in_the_order_of_the_questions() {
        let items: Vec<u64> = (0..1000).collect();
        let squares = map(&items, || (), |(), item| Ok::<_, ()>(item * item)).unwrap();
        assert!(squares.iter().zip(&items).all(|(square, item)| *square == item * item));
        assert_eq!(squares.len(), items.len());
        assert_eq!(map(&[], || (), |(), item: &u64| Ok::<_, ()>(*item)), Ok(Vec::new()));
    }

    #[test]
    fn an_error_ends_it() {
        let items: Vec<u64> = (0..1000).collect();
        let work = |(): &mut (), item: &u64| if *item == 500 { Err(*item) } else { Ok(()) };
        assert_eq!(map(&items, || (), work), Err(500));
    }
}
