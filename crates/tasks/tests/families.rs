//! Properties that every family guarantees.

use innerloop_tasks::{
    Class, Episode, FewShot, ImageClasses, ImageTasks, Rotations, Sinusoid, Sizes, Split,
    SplitLists, Strokes, Target, TaskFamily, episode_key,
};

fn families() -> Vec<Box<dyn TaskFamily>> {
    let few_shot =
        FewShot::with_sizes(4, Sizes { train_shots: 3, train_query: 2, ..Sizes::new(1, 5) });
    let data = || {
        let class = |i: usize| Class {
            name: i.to_string(),
            pixels: (0..8 * 9).map(|at| (at * (i + 3)) as u8).collect(),
        };
        let splits = SplitLists {
            train: (0..5).collect(),
            validation: (5..10).collect(),
            test: (10..15).collect(),
        };
        ImageClasses::new([3, 3, 1], (0..15).map(class).collect(), splits).unwrap()
    };
    let wide = FewShot { train_ways: 7, ..few_shot };
    vec![
        Box::new(Sinusoid { sizes: Sizes { train_query: 4, ..Sizes::new(5, 7) } }),
        Box::new(Strokes { few_shot }),
        Box::new(Strokes { few_shot: wide }),
        Box::new(ImageTasks::new("toy", data(), few_shot, Rotations::Train).unwrap()),
        Box::new(ImageTasks::new("wide", data(), wide, Rotations::Train).unwrap()),
    ]
}

fn episode(family: &dyn TaskFamily, split: Split, seed: u64, task: u64) -> Episode {
    let mut episode = Episode::zeros(&family.spec(split));
    family.sample_into(split, episode_key(seed, split, 0, task), &mut episode);
    episode
}

#[test]
fn a_key_names_one_episode() {
    for family in families() {
        for split in Split::ALL {
            let draw = |seed, task| episode(&*family, split, seed, task);
            let first = draw(1, 0);
            assert_eq!(first, draw(1, 0), "{}", family.name());
            assert_ne!(first, draw(1, 1), "{}: another task", family.name());
            assert_ne!(first, draw(2, 0), "{}: another seed", family.name());
        }
    }
}

#[test]
fn nothing_of_the_episode_before_is_left() {
    for family in families() {
        let mut reused = episode(&*family, Split::Test, 1, 0);
        family.sample_into(Split::Test, episode_key(1, Split::Test, 0, 1), &mut reused);
        assert_eq!(reused, episode(&*family, Split::Test, 1, 1), "{}", family.name());
    }
}

#[test]
fn episodes_do_not_depend_on_threads() {
    for family in families() {
        let alone: Vec<Episode> = (0..8).map(|t| episode(&*family, Split::Train, 1, t)).collect();
        let together: Vec<Episode> = std::thread::scope(|scope| {
            let family = &*family;
            let spawn = |t| scope.spawn(move || episode(family, Split::Train, 1, t));
            let threads: Vec<_> = (0..8).map(spawn).collect();
            threads.into_iter().map(|thread| thread.join().unwrap()).collect()
        });
        assert_eq!(alone, together, "{}", family.name());
    }
}

#[test]
fn labels_are_whole_and_in_order() {
    for family in families() {
        for split in Split::ALL {
            let spec = family.spec(split);
            let Target::Classes(ways) = spec.target else { continue };
            let episode = episode(&*family, split, 1, 0);
            for (labels, n) in [(&episode.support_y, spec.support), (&episode.query_y, spec.query)]
            {
                let expected: Vec<f32> = (0..n).map(|row| (row / (n / ways)) as f32).collect();
                assert_eq!(labels.as_f32(), expected, "{} {split}", family.name());
            }
        }
    }
}

#[test]
#[should_panic(expected = "differs in shape from its family's")]
fn an_episode_of_another_split_is_a_bug() {
    let family =
        Strokes { few_shot: FewShot::with_sizes(4, Sizes { train_shots: 3, ..Sizes::new(1, 5) }) };
    let mut episode = Episode::zeros(&family.spec(Split::Test));
    family.sample_into(Split::Train, episode_key(1, Split::Train, 0, 0), &mut episode);
}
