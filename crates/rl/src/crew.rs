//! Threads that work on tasks.

use std::sync::Mutex;
use std::sync::atomic::{AtomicUsize, Ordering};

use rayon::ThreadPool;

use crate::adaptation::Worker;

/// One worker per thread.
pub(crate) struct Crew {
    pool: ThreadPool,
    workers: Vec<Mutex<Worker>>,
}

impl Crew {
    pub(crate) fn new(pool: ThreadPool, make: impl Fn() -> Worker) -> Crew {
        let workers = (0..pool.current_num_threads()).map(|_| Mutex::new(make())).collect();
        Crew { pool, workers }
    }

    /// `f` of every item, in order of the items. It does not matter which thread takes an item: workers carry no state
    /// from one item to the next.
    pub(crate) fn map<T: Send, R: Send>(
        &self,
        items: &mut [T],
        f: impl Fn(usize, &mut Worker, &mut T) -> R + Sync,
    ) -> Vec<R> {
        let places: Vec<Mutex<(&mut T, Option<R>)>> =
            items.iter_mut().map(|item| Mutex::new((item, None))).collect();
        let next = AtomicUsize::new(0);
        let work = |worker: &Mutex<Worker>| {
            let mut worker = worker.lock().expect("no worker panicked");
            loop {
                let i = next.fetch_add(1, Ordering::Relaxed);
                let Some(place) = places.get(i) else { break };
                let mut place = place.lock().expect("each is taken once");
                let (item, result) = &mut *place;
                *result = Some(f(i, &mut worker, item));
            }
        };
        // This thread works too.
        let helpers = self.workers.len().min(places.len()).saturating_sub(1);
        self.pool.in_place_scope(|scope| {
            let work = &work;
            for worker in &self.workers[1..=helpers] {
                scope.spawn(move |_| work(worker));
            }
            work(&self.workers[0]);
        });
        let result = |place: Mutex<(&mut T, Option<R>)>| {
            place.into_inner().expect("no worker panicked").1.expect("all items are done")
        };
        places.into_iter().map(result).collect()
    }

    /// Number of threads.
    pub(crate) fn threads(&self) -> usize {
        self.workers.len()
    }
}
