//! In the steady state an outer iteration allocates nothing: neither drawing tasks, nor running them on two threads, nor
//! the outer step. A counting allocator checks it, which is why this test is a separate binary.

#![allow(unsafe_code, reason = "a global allocator cannot be written without it")]

use std::alloc::{GlobalAlloc, Layout, System};
use std::sync::atomic::{AtomicUsize, Ordering};

use innerloop_lab::{Config, Experiment, Trainer};
use innerloop_tasks::{Class, FewShot, ImageClasses, ImageTasks, Rotations, SplitLists};

/// Allocations of all threads. While the only test here runs, the harness waits.
static ALLOCATIONS: AtomicUsize = AtomicUsize::new(0);

struct Counting;

// SAFETY: every call is passed on to the system's allocator unchanged.
unsafe impl GlobalAlloc for Counting {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        ALLOCATIONS.fetch_add(1, Ordering::Relaxed);
        // SAFETY: the caller's promises are those the system's allocator asks for.
        unsafe { System.alloc(layout) }
    }

    unsafe fn dealloc(&self, at: *mut u8, layout: Layout) {
        // SAFETY: `at` came from `alloc` above, which is the system's.
        unsafe { System.dealloc(at, layout) }
    }
}

#[global_allocator]
static ALLOCATOR: Counting = Counting;

fn config(preset: &str, sets: &[&str]) -> Config {
    let small = [
        "tasks.query=2",
        "outer.meta_batch_size=5",
        "outer.iterations=100",
        "run.threads=2",
        "evaluation.validate_every=0",
    ];
    let images = ["tasks.ways=3", "model.filters=4"];
    let images = if preset.starts_with("strokes") { &images[..] } else { &[] };
    let sets = small.iter().chain(images).chain(sets).map(|set| set.to_string());
    Config::load(preset, &sets.collect::<Vec<_>>()).unwrap()
}

/// Images of a data set, in place of drawn characters.
fn stored(config: Config) -> Experiment {
    let class = |c: u8| Class { name: c.to_string(), pixels: vec![c; 5 * 28 * 28] };
    let splits = SplitLists { train: vec![0, 1, 2], validation: vec![], test: vec![3, 4, 5] };
    let images = ImageClasses::new([28, 28, 1], (0..6).map(class).collect(), splits).unwrap();
    let tasks = ImageTasks::new("stored", images, FewShot::new(3, 1, 2), Rotations::All).unwrap();
    Experiment::with_family(config, Box::new(tasks)).unwrap()
}

/// Allocations of ten iterations; the fewest of several such rounds, because a thread that comes late to its first task
/// allocates then.
fn allocations(experiment: Experiment) -> usize {
    let mut trainer = Trainer::new(experiment).unwrap();
    let pool = trainer.pool().clone();
    let mut round = || {
        let before = ALLOCATIONS.load(Ordering::Relaxed);
        (0..10).for_each(|_| assert!(trainer.step().unwrap().gradient_norm >= 0.0));
        ALLOCATIONS.load(Ordering::Relaxed) - before
    };
    pool.install(|| (0..10).map(|_| round()).find(|&found| found == 0).unwrap_or_else(round))
}

#[test]
fn an_outer_iteration_allocates_nothing_once_it_has_run() {
    for (preset, sets) in [
        ("sinusoid-maml", &[][..]),
        ("sinusoid-maml", &["outer.meta_batch_size=40", "outer.clip_norm=1.0"]),
        ("strokes-maml", &[]),
        ("strokes-maml", &["model.batch_norm=running", "outer.optimizer=sgd"]),
        ("strokes-fomaml", &[]),
        ("strokes-anil", &[]),
        ("strokes-meta-sgd", &[]),
        ("strokes-reptile", &["tasks.train_query=1"]),
        ("strokes-protonet", &[]),
        ("strokes-fine-tune", &[]),
        ("strokes-shot", &[]),
    ] {
        let experiment = Experiment::new(config(preset, sets)).unwrap();
        assert_eq!(allocations(experiment), 0, "{preset} {sets:?}");
    }
    // Values that follow a schedule are made anew in every iteration.
    for preset in ["strokes-maml-plus-plus", "strokes-gradient-similarity"] {
        let experiment = Experiment::new(config(preset, &[])).unwrap();
        assert!((1..=80).contains(&allocations(experiment)), "{preset}");
    }
    assert_eq!(allocations(stored(config("strokes-maml", &[]))), 0, "stored images");
    // The counter counts.
    let before = ALLOCATIONS.load(Ordering::Relaxed);
    drop(std::hint::black_box(Box::new(5)));
    assert!(ALLOCATIONS.load(Ordering::Relaxed) > before);
}
