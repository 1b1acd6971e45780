//! A timer for what is waited for again and again: moving it costs the writing of an instant.

use std::{future::Future, pin::Pin, task::Context, time::Duration};

use tokio::time::{Instant, Sleep, sleep_until};

/// An alarm that is cheap to move: the timer is armed again only when it rings too early.
#[derive(Debug, Default)]
pub(crate) struct Alarm {
    at: Option<Instant>,
    timer: Option<Pin<Box<Sleep>>>,
}

impl Alarm {
    /// Sets the alarm if it is not set.
    pub(crate) fn set(&mut self, after: Duration) {
        if self.at.is_none() {
            self.at = Some(Instant::now() + after);
        }
    }

    /// Sets the alarm anew.
    pub(crate) fn restart(&mut self, after: Duration) {
        self.at = Some(Instant::now() + after);
    }

    /// Takes the alarm back; the timer stays and may ring for nothing once.
    pub(crate) fn clear(&mut self) {
        self.at = None;
    }

    /// Whether the instant has passed. Registers the task to be woken at it otherwise.
    pub(crate) fn rings(&mut self, context: &mut Context<'_>) -> bool {
        let Some(at) = self.at else { return false };
        let timer = self.timer.get_or_insert_with(|| Box::pin(sleep_until(at)));
        // An instant before the armed one can only be the shorter wait for a head.
        if timer.deadline() > at {
            timer.as_mut().reset(at);
        }
        loop {
            if timer.as_mut().poll(context).is_pending() {
                return false;
            }
            if Instant::now() >= at {
                return true;
            }
            timer.as_mut().reset(at);
        }
    }
}
