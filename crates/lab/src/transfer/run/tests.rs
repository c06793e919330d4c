use super::*;

#[test]
fn an_evaluation_stops_between_two_trials() {
    let sets = [
        "transfer.source_classes=2",
        "transfer.source_shots=2",
        "transfer.target_classes=2",
        "transfer.target_shots=2",
        "transfer.target_query=2",
        "source.channels=[2]",
        "source.iterations=1",
        "source.batch_size=4",
        "target.channels=[2]",
        "algorithm.methods=['scratch', 'uniform']",
        "outer.trials=2",
        "outer.batch_size=4",
    ];
    let config = TransferConfig::load("transfer-strokes", &sets.map(String::from)).unwrap();
    let images = Images::open(&config).unwrap();
    let folder = tempfile::tempdir().unwrap();
    let never = AtomicBool::new(false);
    let source = Source::new(&config, &images, folder.path(), &never).unwrap();
    let run = Run::new(&config, &images, &source);
    for (measured, asked) in [(0, 1), (1, 2), (2, 3), (3, 4), (4, 4)] {
        let questions = std::cell::Cell::new(0);
        let stopped = || questions.replace(questions.get() + 1) == measured;
        let whole = run.outcome(&config, &source, stopped).is_some();
        assert_eq!((whole, questions.get()), (measured == 4, asked), "{measured} measured");
    }
}
