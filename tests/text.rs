//! The text form as a reader sees it: a graph in `tests/golden`, compared byte by byte.
//!
//! After an intended change, `OUTRIGGER_BLESS=1 cargo test --test text` writes the files again; read the
//! difference before you commit it.

use std::path::Path;

use outrigger::graph::{ConvOptions, Graph, PoolOptions, Value};
use outrigger::ops::{BatchNorm, Init};
use outrigger::{DType, Error, Padding};

/// Convolution and batch norm of `x` with parameters in the scope `name`.
fn conv_bn(g: &mut Graph, name: &str, x: Value, channels: [usize; 2]) -> Result<Value, Error> {
    g.scope(name, |g| {
        let weight =
            g.parameter("conv.weight", [3, 3, channels[0], channels[1]], Init::kaiming_uniform(9 * channels[0]))?;
        let options = ConvOptions { padding: Padding::all(1), ..ConvOptions::default() };
        let y = g.conv2d(x, weight, None, options)?;
        let vector = [channels[1]];
        let gamma = g.parameter("bn.weight", vector, Init::ONES)?;
        let beta = g.parameter("bn.bias", vector, Init::ZEROS)?;
        let mean = g.buffer("bn.running_mean", DType::F32, vector, Init::ZEROS)?;
        let var = g.buffer("bn.running_var", DType::F32, vector, Init::ONES)?;
        let bn = BatchNorm { epsilon: 1e-5, momentum: 0.1, unbiased: true };
        g.batch_norm(y, gamma, beta, [mean, var], bn).map(|bn| bn.y)
    })
}

/// A residual block with pooling, dropout and a loss.
fn small_network() -> Result<Graph, Error> {
    let mut g = Graph::new("small \"residual\" network");
    let x = g.input("x", DType::F32, [4, 8, 8, 3])?;
    let labels = g.input("labels", DType::I32, [4])?;
    let seed = g.input("seed", DType::I32, [])?;
    let step = g.buffer("step", DType::I32, [], Init::ZEROS)?;
    let stem = conv_bn(&mut g, "stem", x, [3, 5])?;
    let stem = g.relu(stem)?;
    let inner = conv_bn(&mut g, "block.0", stem, [5, 5])?;
    let sum = g.add_values(inner, stem)?;
    let y = g.relu(sum)?;
    let y = g.max_pool(y, PoolOptions::square(2))?;
    let y = g.global_avg_pool(y)?;
    let y = g.dropout(y, 0.25, seed, step)?;
    let w = g.parameter("fc.weight", [5, 10], Init::kaiming_uniform(5))?;
    let b = g.parameter("fc.bias", [10], Init::kaiming_uniform(5))?;
    let logits = g.linear(y, w, Some(b))?;
    let loss = g.cross_entropy(logits, labels)?;
    g.set_output("logits", logits)?;
    g.set_output("loss", loss)?;
    Ok(g)
}

#[test]
fn the_text_of_a_small_network() {
    let graph = small_network().unwrap();
    let text = graph.to_string();
    let file = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/golden/small_network.txt");
    if std::env::var_os("OUTRIGGER_BLESS").is_some() {
        std::fs::write(&file, &text).unwrap();
    }
    let golden = std::fs::read_to_string(&file).unwrap();
    for (at, (got, expected)) in text.lines().zip(golden.lines()).enumerate() {
        assert_eq!(got, expected, "line {}; OUTRIGGER_BLESS=1 accepts the new text", at + 1);
    }
    assert_eq!(text, golden);
    assert_eq!(Graph::parse(&golden).unwrap(), graph);
}
