//! Lines of the log that strangers and clients could cause without end: some of them, and how many others there were.

use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use crate::base::count::counted;

/// Lines in this time; the rest of them is counted.
pub(crate) const TOLD: (usize, Duration) = (20, Duration::from_secs(10));

/// Tells of things of one kind, but not of a flood of them one by one.
pub(crate) struct Flood<T> {
    tell: Arc<dyn Fn(&T) + Send + Sync>,
    /// Adds words to one thing: how many others had no line.
    extend: fn(&mut T, &str),
    /// One of them, in words.
    noun: &'static str,
    state: Arc<Mutex<Left<T>>>,
}

/// The things that had a line lately, and those that had none.
struct Left<T> {
    told: usize,
    /// The last one of those that were not told, and how many they were.
    untold: Option<(T, usize)>,
}

impl<T> Clone for Flood<T> {
    fn clone(&self) -> Self {
        Flood { tell: self.tell.clone(), extend: self.extend, noun: self.noun, state: self.state.clone() }
    }
}

impl<T> Flood<T> {
    /// A new count. `noun` is one of the things, such as `other connection`.
    pub(crate) fn new(
        noun: &'static str,
        tell: impl Fn(&T) + Send + Sync + 'static,
        extend: fn(&mut T, &str),
    ) -> Self {
        let state = Arc::new(Mutex::new(Left { told: 0, untold: None }));
        Flood { tell: Arc::new(tell), extend, noun, state }
    }

    /// Tells of one, or counts it.
    pub(crate) fn tell(&self, thing: T) {
        let mut left = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        if left.told >= TOLD.0 {
            let before = left.untold.take().map_or(0, |(_, count)| count);
            left.untold = Some((thing, before + 1));
            return;
        }
        left.told += 1;
        drop(left);
        (self.tell)(&thing);
    }

    /// Begins to count anew, and tells how many had no line.
    fn begin_anew(&self) {
        let untold = {
            let mut left = self.state.lock().unwrap_or_else(PoisonError::into_inner);
            left.told = 0;
            left.untold.take()
        };
        if let Some((mut thing, count)) = untold {
            let others = counted(count - 1, self.noun);
            (self.extend)(&mut thing, &format!("; {others} had no line within {} s", TOLD.1.as_secs()));
            (self.tell)(&thing);
        }
    }

    /// Does so for ever.
    pub(crate) async fn settle(&self) {
        loop {
            tokio::time::sleep(TOLD.1).await;
            self.begin_anew();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_flood_has_some_lines_and_a_sum() {
        let lines: Arc<Mutex<Vec<String>>> = Arc::default();
        let heard = lines.clone();
        let tell = move |text: &String| heard.lock().unwrap().push(text.clone());
        let flood = Flood::new("other connection", tell, |text, more| text.push_str(more));
        for number in 0..1000 {
            flood.clone().tell(format!("why {number}"));
        }
        flood.begin_anew();
        flood.begin_anew();
        flood.tell("anew".into());
        let lines = lines.lock().unwrap();
        assert_eq!(lines.len(), TOLD.0 + 2);
        assert_eq!(lines[TOLD.0], "why 999; 979 other connections had no line within 10 s");
    }
}
