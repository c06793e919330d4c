use innerloop_engine::check::{assert_close, evaluate, random, relative_error};
use innerloop_engine::{Dtype, Graph, Key, Params, Tensor};

use super::*;

fn conv4(image: [usize; 3], filters: usize, ways: usize) -> Conv4 {
    let shape = (Downsampling::MaxPool, Head::Flatten);
    Conv4::new(image, filters, ways, shape, (Init::Torch, 1e-5))
}

fn output(
    model: &dyn Model,
    x: &Tensor,
    norm: impl for<'g> Fn(&'g Graph) -> NormStatistics<'g>,
) -> Tensor {
    output_at(model, &initialise(model.parameters(), Key::new(3), Dtype::F64), x, norm)
}

fn output_at(
    model: &dyn Model,
    theta: &Params<Tensor>,
    x: &Tensor,
    norm: impl for<'g> Fn(&'g Graph) -> NormStatistics<'g>,
) -> Tensor {
    let graph = Graph::new();
    let mut inputs: Vec<Tensor> = theta.values().to_vec();
    let params = theta.map_named(|name, t| graph.input(name, t.shape()));
    let var = graph.input("x", x.shape());
    inputs.push(x.clone());
    let forward = model.forward(&params, var, &norm(&graph));
    evaluate(&graph, &[forward.output], &inputs).remove(0)
}

#[test]
fn torch_layouts_round_trip() {
    for spec in conv4([21, 33, 3], 5, 4).parameters() {
        let value = random(Key::new(1), &spec.shape, 1.0);
        assert_eq!(spec.from_torch(&spec.to_torch(&value)), value, "{}", spec.name);
        assert_eq!(spec.to_torch(&value).shape(), spec.torch_shape());
    }
    let spec = ParamSpec {
        name: "w".into(),
        shape: vec![1, 2, 3, 1],
        layout: Layout::Conv,
        init: Init::He,
    };
    let value = Tensor::from_f64(&[1, 2, 3, 1], (0..6).map(f64::from).collect());
    // Element [kh 0, kw 1, in 2, out 0] goes to [out 0, in 2, kh 0, kw 1].
    assert_eq!(spec.to_torch(&value).get(5), value.get(5));
    assert_eq!(spec.to_torch(&value).get(1), value.get(3));
}

#[test]
fn map_layout_moves_channels_outermost() {
    let layout = Layout::Maps { extents: [1, 2, 3] };
    let spec = ParamSpec { name: "head".into(), shape: vec![1, 6], layout, init: Init::He };
    let value = Tensor::from_f64(&[1, 6], (0..6).map(f64::from).collect());
    // (x, ch) -> ch·w + x
    assert_eq!(spec.to_torch(&value).iter().collect::<Vec<_>>(), [0.0, 3.0, 1.0, 4.0, 2.0, 5.0]);
}

#[test]
fn shapes_follow_the_papers() {
    let sizes =
        |model: &Conv4| model.parameters().iter().map(|p| p.shape.iter().product::<usize>()).sum();
    // Omniglot: 1 → 64 filters on 28×28 ends in 1×1×64; miniImageNet: 32 filters on 84×84 in 5×5×32.
    let omniglot: usize = sizes(&conv4([28, 28, 1], 64, 5));
    assert_eq!(omniglot, 9 * 64 + 3 * 9 * 64 * 64 + 4 * 3 * 64 + 64 * 5 + 5);
    // 32,901 learner parameters: the count in Ravi and Larochelle's code.
    assert_eq!(sizes(&conv4([84, 84, 3], 32, 5)), 32_901);
}

#[test]
fn groups_are_normalised_apart() {
    let model = conv4([16, 16, 2], 3, 4);
    let (a, b) =
        (random(Key::new(4), &[3, 16, 16, 2], 1.0), random(Key::new(5), &[3, 16, 16, 2], 2.0));
    let both = a.iter().chain(b.iter()).collect();
    let both = Tensor::from_f64(&[6, 16, 16, 2], both);
    let together = output(&model, &both, |_| NormStatistics::Batch { groups: 2 });
    let apart = [&a, &b].map(|x| output(&model, x, |_| NormStatistics::Batch { groups: 1 }));
    let apart = Tensor::from_f64(&[6, 4], apart.iter().flat_map(|t| t.iter()).collect());
    assert_close("grouped statistics", &together, &apart, 1e-12);
}

#[test]
fn strided_variant_ends_in_two_by_two_maps() {
    let shape = (Downsampling::Strided, Head::Mean);
    let model = Conv4::new([28, 28, 1], 8, 5, shape, (Init::He, 1e-3));
    let x = random(Key::new(6), &[2, 28, 28, 1], 1.0);
    assert_eq!(output(&model, &x, |_| NormStatistics::Batch { groups: 1 }).shape(), [2, 5]);
    assert_eq!(model.parameters().last().map(|p| p.name.as_str()), Some("head.bias"));
}

#[test]
fn losses_have_their_closed_forms() {
    let graph = Graph::new();
    let logits = graph.input("logits", &[2, 3]);
    let labels = graph.input("labels", &[2]);
    let ce = loss::cross_entropy(logits, labels);
    let mse = loss::mean_squared_error(logits, logits.full_like(1.0));
    // The second row would overflow without the shift: exp(1000).
    let values = Tensor::from_f64(&[2, 3], vec![0.0, 0.0, 0.0, 1000.0, 0.0, 0.0]);
    let got = evaluate(&graph, &[ce, mse], &[values, Tensor::from_f64(&[2], vec![2.0, 0.0])]);
    // ½ (ln 3 + 0) and (5 · 1 + 999²) / 6
    assert!((got[0].get(0) - 3_f64.ln() / 2.0).abs() <= 1e-15);
    assert!((got[1].get(0) - (5.0 + 999.0 * 999.0) / 6.0).abs() <= 1e-9);
}

#[test]
fn initial_values_have_the_stated_spread() {
    let shape = [64, 400];
    let spread = |init: Init| {
        let t = init.draw(&shape, Layout::Same, Key::new(2));
        let n = t.len() as f64;
        let mean = t.iter().sum::<f64>() / n;
        ((t.iter().map(|x| (x - mean).powi(2)).sum::<f64>() / n).sqrt(), mean)
    };
    for (init, sd) in [
        (Init::He, (2.0 / 400_f64).sqrt()),
        (Init::Xavier, (2.0 / 464_f64).sqrt()),
        (Init::Torch, 1.0 / 1200_f64.sqrt()),
        (Init::TruncatedNormal(0.1), 0.1 * 0.8796),
    ] {
        let (got, mean) = spread(init);
        assert!((got / sd - 1.0).abs() <= 0.02 && mean.abs() <= 0.02 * sd, "{init:?}: {got} {sd}");
    }
    let params: Params<Tensor> =
        initialise(conv4([16, 16, 1], 2, 2).parameters(), Key::new(1), Dtype::F32);
    assert_eq!(params["features.0.norm.weight"].as_f32(), [1.0, 1.0]);
}

fn by_batch(_: &Graph) -> NormStatistics<'_> {
    NormStatistics::Batch { groups: 1 }
}

/// Context parameters are additional inputs; starting from zero, the others are initialised as without them.
#[test]
fn context_parameters_are_inputs_of_a_perceptron() {
    let plain = || Mlp::new(&[2, 6, 1], Activation::Tanh, Init::Xavier);
    let model = plain().with_context(3);
    let mut theta = initialise(model.parameters(), Key::new(5), Dtype::F64);
    let context = theta.position(CONTEXT).unwrap();
    assert_eq!(theta[CONTEXT], Tensor::zeros(Dtype::F64, &[3]));
    theta.values_mut()[context] = random(Key::new(6), &[3], 1.0);
    let x = random(Key::new(7), &[4, 2], 1.0);
    // The same numbers as inputs of a wider network.
    let wide = Mlp::new(&[5, 6, 1], Activation::Tanh, Init::Xavier);
    let row = |i: usize| [x.get(2 * i), x.get(2 * i + 1)].into_iter().chain(theta[CONTEXT].iter());
    let rows = Tensor::from_f64(&[4, 5], (0..4).flat_map(row).collect());
    let others = theta.filter(|name| name != CONTEXT);
    let want = output_at(&wide, &others, &rows, by_batch);
    assert_close("output", &output_at(&model, &theta, &x, by_batch), &want, 1e-14);
}

#[test]
fn context_parameters_scale_and_shift_the_third_block() {
    let plain = conv4([16, 16, 1], 3, 2);
    let model = conv4([16, 16, 1], 3, 2).with_context(4);
    let mut theta = initialise(model.parameters(), Key::new(5), Dtype::F64);
    let set = |theta: &mut Params<Tensor>, name: &str, to: Vec<f64>| {
        let at = theta.position(name).unwrap();
        theta.values_mut()[at] = Tensor::from_f64(theta[name].shape(), to);
    };
    let x = random(Key::new(7), &[5, 16, 16, 1], 1.0);
    let others = theta.filter(|name| name != CONTEXT && !name.starts_with("film"));
    // Scales of one and shifts of zero change nothing.
    set(&mut theta, "film.bias", vec![1.0, 1.0, 1.0, 0.0, 0.0, 0.0]);
    let want = output_at(&plain, &others, &x, by_batch);
    assert_close("output", &output_at(&model, &theta, &x, by_batch), &want, 1e-14);
    // They differ from those of batch norm, which only the pooling follows.
    let film = [1.5, 0.5, 2.0, 0.1, -0.2, 0.3];
    set(&mut theta, "context", vec![0.5, 0.0, 0.0, 0.0]);
    set(&mut theta, "film.bias", vec![0.0; 6]);
    set(&mut theta, "film.weight", film.iter().flat_map(|x| [2.0 * x, 9.0, 9.0, 9.0]).collect());
    let mut scaled = others.clone();
    set(&mut scaled, "features.2.norm.weight", film[..3].to_vec());
    set(&mut scaled, "features.2.norm.bias", film[3..].to_vec());
    let want = output_at(&plain, &scaled, &x, by_batch);
    assert_close("output", &output_at(&model, &theta, &x, by_batch), &want, 1e-14);
    // They stand behind the pooling: with a scale below zero it matters which of its pixels was the largest before.
    let negative = |x: f64| if x == 1.5 { -1.5 } else { x };
    let film = film.map(negative);
    set(&mut theta, "film.weight", film.iter().flat_map(|x| [2.0 * x, 9.0, 9.0, 9.0]).collect());
    set(&mut scaled, "features.2.norm.weight", film[..3].to_vec());
    let (got, before) =
        (output_at(&model, &theta, &x, by_batch), output_at(&plain, &scaled, &x, by_batch));
    assert!(relative_error(&got, &before) >= 1e-3);
}

#[test]
fn prototypes_are_class_means() {
    let support = Tensor::from_f64(&[4, 2], vec![0.0, 0.0, 2.0, 4.0, 5.0, 5.0, 4.0, 0.0]);
    let query = Tensor::from_f64(&[2, 2], vec![1.0, 1.0, -2.0, 3.0]);
    let labels = Tensor::from_f64(&[4], vec![0.0, 1.0, 1.0, 0.0]);
    let graph = Graph::new();
    let [s, y, q] = [("s", &support), ("y", &labels), ("q", &query)]
        .map(|(name, value)| graph.input(name, value.shape()));
    let logits = prototype_logits(s, y, q, 2);
    let got = evaluate(&graph, &[logits], &[support, labels, query]).remove(0);
    // Means (2, 0) and (3.5, 4.5).
    let want = Tensor::from_f64(&[2, 2], vec![-2.0, -18.5, -25.0, -32.5]);
    assert_close("logits", &got, &want, 1e-14);
}

#[test]
fn maps_are_resized_as_by_pytorch() {
    // torch.nn.functional.interpolate(x, mode="bilinear", align_corners=False), worked out by hand from its formula.
    let graph = Graph::new();
    let x = graph.input("x", &[1, 1, 2, 1]);
    let wide = resize_bilinear(x, [1, 4]);
    let y = graph.input("y", &[1, 4, 4, 1]);
    let small = resize_bilinear(y, [2, 2]);
    let ramp = (0..16).map(f64::from).collect();
    let inputs =
        [Tensor::from_f64(&[1, 1, 2, 1], vec![0.0, 1.0]), Tensor::from_f64(&[1, 4, 4, 1], ramp)];
    let got = evaluate(&graph, &[wide, small], &inputs);
    assert_eq!(got[0].iter().collect::<Vec<_>>(), [0.0, 0.25, 0.75, 1.0]);
    assert_eq!(got[1].iter().collect::<Vec<_>>(), [2.5, 4.5, 10.5, 12.5]);
}

#[test]
fn stages_have_the_extents_they_say() {
    let resnet = ResNet::new([7, 9, 2], (&[2, 3, 4], 2), 5, (Init::He, 1e-5));
    let vgg = Vgg::new([29, 33, 1], (&[2, 3, 3, 4, 4], &[1, 1, 2, 2, 2]), 5, (Init::He, 1e-5));
    assert_eq!(resnet.stages(), [[7, 9, 2], [4, 5, 3], [2, 3, 4]]);
    assert_eq!(vgg.stages(), [[29, 33, 2], [14, 16, 3], [7, 8, 3], [3, 4, 4], [1, 2, 4]]);
    let weights = |model: &dyn Model| {
        let layers =
            |p: &&ParamSpec| p.layout == Layout::Conv && p.shape[0] == 3 || p.shape.len() == 2;
        model.parameters().iter().filter(layers).count()
    };
    assert_eq!(weights(&resnet), 14, "ResNet-14");
    assert_eq!(weights(&vgg), 9, "VGG-9");
    for (model, image) in [(&resnet as &dyn Staged, [7, 9, 2]), (&vgg, [29, 33, 1])] {
        let graph = Graph::new();
        let params =
            model.parameters().iter().map(|p| (p.name.clone(), graph.input("p", &p.shape)));
        let x = graph.input("x", &[2, image[0], image[1], image[2]]);
        let norm = NormStatistics::Batch { groups: 1 };
        let (forward, maps) = model.forward_stages(&params.collect(), x, &norm);
        assert_eq!(forward.output.shape(), [2, 5]);
        assert_eq!(forward.statistics.names(), model.statistics().names());
        for (map, stage) in maps.iter().zip(model.stages()) {
            assert_eq!(map.shape()[1..], *stage);
        }
    }
}
