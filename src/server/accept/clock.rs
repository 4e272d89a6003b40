//! A timer for waits that nearly always end before their time.

use std::{
    pin::Pin,
    task::{Context, Poll, ready},
};

use tokio::time::{Instant, Sleep, sleep_until};

/// Tells when a deadline has passed, whichever it is each time.
///
/// Its timer is set anew only for a deadline that is earlier than the one it is set for.
/// For a later one it goes off in vain, once: so a request that is answered in time, as
/// nearly all are, costs no change of a timer.
#[derive(Debug, Default)]
pub(super) struct Clock {
    timer: Option<Pin<Box<Sleep>>>,
}

impl Clock {
    /// Ready once the deadline has passed; until then the task is woken when it has.
    pub(super) fn poll(&mut self, deadline: Instant, cx: &mut Context<'_>) -> Poll<()> {
        let timer = self.timer.get_or_insert_with(|| Box::pin(sleep_until(deadline)));
        if timer.deadline() > deadline {
            timer.as_mut().reset(deadline);
        }
        loop {
            ready!(timer.as_mut().poll(cx));
            if Instant::now() >= deadline {
                return Poll::Ready(());
            }
            timer.as_mut().reset(deadline);
        }
    }
}

#[cfg(test)]
mod tests {
    use std::{future::poll_fn, time::Duration};

    use super::*;

    /// Deadlines that move, forwards and back, are each kept.
    #[tokio::test(start_paused = true)]
    async fn each_deadline_is_kept() {
        let mut clock = Clock::default();
        let start = Instant::now();
        for seconds in [5, 10, 11, 30] {
            let deadline = start + Duration::from_secs(seconds);
            // A later one is asked for first, and forgotten.
            let later = deadline + Duration::from_mins(1);
            let asked = poll_fn(|cx| Poll::Ready(clock.poll(later, cx)));
            assert_eq!(asked.await, Poll::Pending);
            poll_fn(|cx| clock.poll(deadline, cx)).await;
            assert_eq!(start.elapsed().as_secs(), seconds);
        }
    }
}
