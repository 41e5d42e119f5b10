//! A program of the site in a process group of its own, so that all that it starts ends with it.
//!
//! Owns the group from its start to the moment when its first process is waited for, and its end when this process is interrupted:
//! a terminal's Ctrl-C does not reach it. Leaves time limits and what programs say to those who run them.

use std::io;
use std::os::unix::process::CommandExt;
use std::process::{Child, Command, ExitStatus};
use std::sync::{Arc, Mutex, PoisonError, Weak};

use rustix::process::{Pid, Signal, WaitId, WaitIdOptions, kill_process_group, waitid};

use crate::base::unfinished::on_interrupt;

/// Every group that runs, for an interrupt to end.
static RUNNING: Mutex<Option<Vec<Weak<Group>>>> = Mutex::new(None);

/// A process group. It is signalled only before its first process was waited for: its number could be another's then.
pub(super) struct Group {
    pid: Pid,
    over: Mutex<bool>,
}

impl Group {
    /// Starts a command as the first process of a group.
    ///
    /// # Errors
    /// It cannot be started.
    pub(super) fn start(command: &mut Command) -> io::Result<(Child, Arc<Group>)> {
        let child = command.process_group(0).spawn()?;
        let group = Arc::new(Group { pid: Pid::from_child(&child), over: Mutex::new(false) });
        group.register();
        Ok((child, group))
    }

    fn register(self: &Arc<Group>) {
        let mut running = RUNNING.lock().unwrap_or_else(PoisonError::into_inner);
        let list = running.get_or_insert_with(|| {
            on_interrupt(|| {
                let running = RUNNING.lock().unwrap_or_else(PoisonError::into_inner);
                let groups = running.iter().flatten().filter_map(Weak::upgrade);
                groups.for_each(|group| group.signal(Signal::KILL));
            });
            Vec::new()
        });
        list.retain(|group| group.strong_count() > 0);
        list.push(Arc::downgrade(self));
    }

    /// Signals all of its processes, if its first one was not waited for yet.
    pub(super) fn signal(&self, signal: Signal) {
        let over = self.over.lock().unwrap_or_else(PoisonError::into_inner);
        if !*over {
            // It may have ended by itself.
            let _ = kill_process_group(self.pid, signal);
        }
    }

    /// Waits for its first process.
    ///
    /// # Errors
    /// As of [`Child::wait`].
    pub(super) fn reap(&self, child: &mut Child) -> io::Result<ExitStatus> {
        let mut over = self.over.lock().unwrap_or_else(PoisonError::into_inner);
        let status = child.wait()?;
        *over = true;
        Ok(status)
    }
}

/// Whether a process has ended; it stays to be waited for.
pub(super) fn is_over(child: &Child) -> io::Result<bool> {
    let looks = WaitIdOptions::EXITED | WaitIdOptions::NOHANG | WaitIdOptions::NOWAIT;
    Ok(waitid(WaitId::Pid(Pid::from_child(child)), looks)?.is_some())
}
