//! The threads that tasks run on.

use std::thread::available_parallelism;

use rayon::{ThreadPool, ThreadPoolBuilder};

use crate::{Error, ErrorKind, Result};

/// A pool of the given number of threads; zero for one per core.
///
/// With a thread for every core that the process may use, each stays on its own. Left to itself the system may
/// wake both of two threads on one core and leave them there: a meta-iteration of a tenth of a millisecond is over before
/// it looks again.
pub fn thread_pool(threads: usize) -> Result<ThreadPool> {
    let threads = match threads {
        0 => available_parallelism().map_or(1, usize::from),
        _ => threads,
    };
    let builder = ThreadPoolBuilder::new().num_threads(threads);
    pinned(builder, threads).build().map_err(|cause| {
        let what = format!("cannot start {threads} threads: {cause}; set run.threads");
        Error::new(ErrorKind::Io, what)
    })
}

#[cfg(target_os = "linux")]
fn pinned(builder: ThreadPoolBuilder, threads: usize) -> ThreadPoolBuilder {
    use rustix::thread::{CpuSet, sched_getaffinity, sched_setaffinity};
    let Ok(allowed) = sched_getaffinity(None) else { return builder };
    let cores: Vec<usize> = (0..CpuSet::MAX_CPU).filter(|&core| allowed.is_set(core)).collect();
    if threads != cores.len() {
        return builder;
    }
    builder.start_handler(move |thread| {
        let mut core = CpuSet::new();
        core.set(cores[thread]);
        // Where it is refused the thread runs anywhere, as it would have.
        let _ = sched_setaffinity(None, &core);
    })
}

#[cfg(not(target_os = "linux"))]
fn pinned(builder: ThreadPoolBuilder, _: usize) -> ThreadPoolBuilder {
    builder
}

#[cfg(all(test, target_os = "linux"))]
mod tests {
    use rustix::thread::sched_getaffinity;

    use super::*;

    #[test]
    fn threads_for_all_cores_have_one_each_and_others_have_all() {
        let cores = sched_getaffinity(None).unwrap().count() as usize;
        let counts = |threads: usize| {
            let pool = thread_pool(threads).unwrap();
            pool.broadcast(|_| sched_getaffinity(None).unwrap().count() as usize)
        };
        assert_eq!(counts(cores), vec![1; cores]);
        assert_eq!(counts(cores + 1), vec![cores; cores + 1]);
    }
}
