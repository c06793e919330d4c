use super::*;

#[test]
fn shapes_follow_from_the_spec() {
    let spec = FewShot::with_sizes(5, Sizes { train_shots: 10, ..Sizes::new(1, 15) })
        .spec(Split::Train, [28, 28, 1]);
    assert_eq!(spec.shapes(), [vec![50, 28, 28, 1], vec![50], vec![75, 28, 28, 1], vec![75]]);
    let spec = EpisodeSpec { x: vec![2], target: Target::Values(3), support: 4, query: 5 };
    assert_eq!(spec.shapes(), [vec![4, 2], vec![4, 3], vec![5, 2], vec![5, 3]]);
}

#[test]
fn sizes_are_described_once_when_training_is_as_evaluation() {
    assert_eq!(FewShot::new(5, 1, 15).to_string(), "5-way 1-shot, 15 queries per class");
    let reptile =
        FewShot::with_sizes(5, Sizes { train_shots: 10, train_query: 5, ..Sizes::new(1, 1) });
    assert_eq!(
        reptile.to_string(),
        "5-way 1-shot, 1 queries per class (training: 10-shot, 5 queries)"
    );
    let wide = FewShot { train_ways: 60, ..FewShot::new(5, 1, 5) };
    assert_eq!(
        wide.to_string(),
        "5-way 1-shot, 5 queries per class (training: 60-way 1-shot, 5 queries)"
    );
}

#[test]
fn keys_differ_in_every_coordinate() {
    let keys = [
        episode_key(1, Split::Train, 2, 3),
        episode_key(2, Split::Train, 2, 3),
        episode_key(1, Split::Validation, 2, 3),
        episode_key(1, Split::Test, 2, 3),
        episode_key(1, Split::Train, 3, 3),
        episode_key(1, Split::Train, 2, 4),
    ];
    for (at, key) in keys.iter().enumerate() {
        assert!(!keys[..at].contains(key), "{key:?} twice");
    }
}
