//! Asking a source that may hang, without hanging and without piling up questions.

use std::{future::Future, time::Duration};
use tokio::{task::JoinHandle, time::Instant};

/// The longest that one look waits for one source.
pub(super) const PATIENCE: Duration = Duration::from_secs(1);

/// A question to one source, and the one that is still open when the last look gave up on it.
pub(super) struct Question<T> {
    open: Option<(Instant, JoinHandle<T>)>,
}

impl<T: 'static> Question<T> {
    pub(super) const fn new() -> Self {
        Self { open: None }
    }

    /// Asks and waits for at most [`PATIENCE`]. While an earlier question hangs, none is added to it; its late answer
    /// is thrown away, because it would be taken for the state of now.
    pub(super) async fn ask<F>(&mut self, question: impl FnOnce() -> F) -> Result<T, String>
    where
        F: Future<Output = T> + 'static,
    {
        if let Some((since, task)) = &self.open
            && !task.is_finished()
        {
            return Err(format!("has not answered for {} s", since.elapsed().as_secs()));
        }
        let (since, task) = self.open.insert((Instant::now(), tokio::task::spawn_local(question())));
        match tokio::time::timeout_at(*since + PATIENCE, task).await {
            Ok(answer) => {
                self.open = None;
                answer.map_err(|error| format!("failed: {error}"))
            }
            Err(_) => Err(format!("has not answered within {} s", PATIENCE.as_secs())),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::io::{IoMode, Runtime};
    use std::{cell::Cell, rc::Rc};
    use tokio::sync::oneshot;

    #[test]
    fn a_source_that_hangs_is_asked_once_and_asked_again_after_it_answered() {
        let (runtime, _) = Runtime::start(IoMode::Auto).unwrap();
        runtime.block_on(async {
            let asked = Rc::new(Cell::new(0));
            let counted = |answer: u32| {
                let asked = Rc::clone(&asked);
                move || async move {
                    asked.set(asked.get() + 1);
                    answer
                }
            };
            let mut question = Question::new();
            assert_eq!(question.ask(counted(1)).await, Ok(1));

            let (unblock, blocked) = oneshot::channel::<()>();
            let hanging = || async move {
                let _ = blocked.await;
                2
            };
            assert!(question.ask(hanging).await.unwrap_err().contains("within 1 s"));
            assert!(question.ask(counted(3)).await.unwrap_err().contains("has not answered for"));
            assert_eq!(asked.get(), 1, "nothing was added to the question that hangs");

            unblock.send(()).unwrap();
            while question.open.as_ref().is_some_and(|(_, task)| !task.is_finished()) {
                tokio::task::yield_now().await;
            }
            assert_eq!(question.ask(counted(4)).await, Ok(4), "the late answer is not taken for a new one");
        });
    }

    #[test]
    fn a_source_that_panics_is_an_error_and_not_the_end() {
        let (runtime, _) = Runtime::start(IoMode::Auto).unwrap();
        runtime.block_on(async {
            let mut question = Question::new();
            let broken = || async { panic!("a bug") };
            assert!(question.ask(broken).await.unwrap_err().contains("failed"));
        });
    }
}
