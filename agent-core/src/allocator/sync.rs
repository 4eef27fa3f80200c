//! What the lock-free code is made of; under `--cfg loom` the same things as the model checker can follow them.

#[cfg(not(loom))]
pub use arc_swap::Guard;
#[cfg(not(loom))]
pub(super) use {
    arc_swap::ArcSwap,
    crossbeam::queue::SegQueue,
    std::sync::atomic::{AtomicBool, AtomicU64, Ordering, fence},
};

#[cfg(loom)]
pub use model::Guard;
#[cfg(loom)]
pub(super) use {
    loom::sync::atomic::{AtomicBool, AtomicU64, Ordering, fence},
    model::{ArcSwap, SegQueue},
};

#[cfg(loom)]
mod model {
    use loom::sync::atomic::{AtomicUsize, Ordering};
    use std::{
        collections::VecDeque,
        ops::Deref,
        sync::{Arc, PoisonError},
    };

    /// What `arc_swap::ArcSwap` promises and no more: who loads a value sees what was written before it was stored.
    #[derive(Debug)]
    pub struct ArcSwap<T> {
        current: AtomicUsize,
        /// Every value there ever was. Not followed by the model: only `current` makes them visible.
        values: std::sync::Mutex<Vec<Arc<T>>>,
    }

    /// What `arc_swap::Guard` is: a loaded value.
    #[derive(Debug)]
    pub struct Guard<A>(A);

    impl<T> ArcSwap<T> {
        pub(in super::super) fn new(value: Arc<T>) -> Self {
            Self { current: AtomicUsize::new(0), values: vec![value].into() }
        }

        pub(in super::super) fn load_full(&self) -> Arc<T> {
            let current = self.current.load(Ordering::Acquire);
            let values = self.values.lock().unwrap_or_else(PoisonError::into_inner);
            Arc::clone(values.get(current).unwrap_or_else(|| unreachable!("{current} was stored")))
        }

        pub(in super::super) fn load(&self) -> Guard<Arc<T>> {
            Guard(self.load_full())
        }

        pub(in super::super) fn store(&self, value: Arc<T>) {
            let mut values = self.values.lock().unwrap_or_else(PoisonError::into_inner);
            values.push(value);
            let newest = values.len() - 1;
            drop(values);
            self.current.store(newest, Ordering::Release);
        }
    }

    impl<T: Default> Default for ArcSwap<T> {
        fn default() -> Self {
            Self::new(Arc::default())
        }
    }

    impl<A> Deref for Guard<A> {
        type Target = A;

        fn deref(&self) -> &A {
            &self.0
        }
    }

    /// A queue; its lock orders more than `crossbeam::queue::SegQueue` promises, so nothing but its order is proved.
    #[derive(Debug)]
    pub struct SegQueue<T>(loom::sync::Mutex<VecDeque<T>>);

    impl<T> SegQueue<T> {
        pub(in super::super) fn push(&self, item: T) {
            self.0.lock().unwrap_or_else(PoisonError::into_inner).push_back(item);
        }

        pub(in super::super) fn pop(&self) -> Option<T> {
            self.0.lock().unwrap_or_else(PoisonError::into_inner).pop_front()
        }
    }

    impl<T> Default for SegQueue<T> {
        fn default() -> Self {
            Self(loom::sync::Mutex::new(VecDeque::new()))
        }
    }
}
