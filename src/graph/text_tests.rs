//! Round trips through the text form, and texts that are wrong.

use proptest::prelude::*;

use super::*;
use crate::graph::Patch;
use crate::ops::{
    Anchor, BatchNorm, Binary, Conv2d, Fused, Init, Output, Pad, Pool, Program, Reduce, ReduceKind, Step, Unary,
};
use crate::tensor::Tensor;

/// A little of everything that is hard to write down: floats without digits, several results, nested
/// attributes, names with quotes and line ends, a forward reference.
fn rich() -> Graph {
    let mut g = Graph::new("a \"rich\" graph\n(二)");
    let x = g.input("x", DType::F32, [2, 4, 4, 3]).unwrap();
    let labels = g.input("labels", DType::I32, [2]).unwrap();
    g.enter("layer\t1");
    let w = g.parameter("conv.weight", [3, 3, 3, 5], Init::Uniform(1.0 / 3.0)).unwrap();
    let channel = |g: &mut Graph, name: &str, init| g.parameter(name, [5], init).unwrap();
    let (gamma, beta) = (channel(&mut g, "gamma", Init::ONES), channel(&mut g, "beta", Init::Normal(1e-30)));
    let mean = g.buffer("mean", DType::F32, [5], Init::ZEROS).unwrap();
    let var = g.buffer("var", DType::F32, [5], Init::Constant(f32::MAX)).unwrap();
    let options = crate::graph::ConvOptions { padding: crate::types::Padding::Same, ..Default::default() };
    let y = g.conv2d(x, w, None, options).unwrap();
    let attributes = BatchNorm { epsilon: 1e-5, momentum: 0.1, unbiased: true };
    let normal = g.batch_norm(y, gamma, beta, [mean, var], attributes).unwrap();
    g.leave();
    let limits = g.unary(Unary::Clamp(f32::NEG_INFINITY, -0.0), normal.y).unwrap();
    let odd = Tensor::f32([2, 2], vec![f32::INFINITY, -0.0, 1e-45, f32::MIN_POSITIVE]).unwrap();
    let odd = g.constant(odd).unwrap();
    let bytes = g.constant(Tensor::new([3], crate::tensor::Data::U8(vec![0, 7, 255])).unwrap()).unwrap();
    let pad = Pad { low: vec![1, 0], high: vec![0, 2], value: f32::INFINITY };
    let padded = g.op(Op::Pad(pad), &[odd]).unwrap();
    let pool = Pool { size: [2, 2], stride: [2, 1], padding: [[0, 1], [1, 0]], count_padding: true };
    let pooled = g.op(Op::MaxPool(pool), &[limits]).unwrap();
    let rows = g.one_hot(labels, 5).unwrap();
    let reduce = Reduce { kind: ReduceKind::Mean, axes: vec![1, 2], keep_dims: false };
    let logits = g.op(Op::Reduce(reduce), &[pooled]).unwrap();
    let loss = g.soft_cross_entropy(logits, rows).unwrap();
    let conv = Conv2d { stride: [1, 1], padding: [[1, 1], [1, 1]], dilation: [1, 1], groups: 1 };
    let shape = |v| g.value_type(v).unwrap().shape.clone();
    let fused = Fused {
        anchor: Anchor::ConvBackward { conv, input: shape(x), weight: shape(w), data: true, filter: true },
        chunks: 2,
        precision: Default::default(),
        source: Program::operand(1),
        gradient: Program {
            steps: vec![Step::Operand(2), Step::Constant(f32::INFINITY), Step::Binary(Binary::Min, 0, 1)],
            value: 2,
            outputs: vec![Output::Sums(2)],
        },
        result: Program::store_anchor(),
    };
    let backward = g.add(Op::Fused(Box::new(fused)), &[w, x, normal.y], "fused \\ kernel").unwrap();
    let cast = g.cast(bytes, DType::F32).unwrap();
    for (name, value) in [("loss", loss), ("dw", backward.result(2)), ("", padded), ("cast", cast)] {
        g.set_output(name, value).unwrap();
    }
    // an operand that is defined after its user, as a pass leaves it
    let late = g.unary(Unary::LeakyRelu(0.125), normal.y).unwrap();
    let mut patch = Patch::new();
    patch.redirect(limits, late);
    patch.apply(&mut g, "test").unwrap();
    g.verify().unwrap();
    g
}

fn parse_error(text: &str) -> (usize, String) {
    match Graph::parse(text) {
        Err(Error::Parse { line, reason }) => (line, reason),
        Err(other) => panic!("not a parse error: {other:?}"),
        Ok(graph) => panic!("was parsed:\n{graph}"),
    }
}

#[test]
fn a_rich_graph_returns() {
    let graph = rich();
    let text = graph.to_string();
    let back = Graph::parse(&text).unwrap();
    assert_eq!(back, graph);
    assert_eq!(back.to_string(), text);
    let compact = graph.compact();
    assert_eq!(Graph::parse(&compact.to_string()).unwrap(), compact);
}

#[test]
fn nan_returns_although_it_equals_nothing() {
    let mut g = Graph::new("nan");
    g.constant(Tensor::f32([2], vec![f32::NAN, f32::NEG_INFINITY]).unwrap()).unwrap();
    let back = Graph::parse(&g.to_string()).unwrap();
    assert_eq!(back.to_string(), g.to_string());
    let Op::Constant(tensor) = &back.node(NodeId(0)).op else { panic!("no constant") };
    assert!(tensor.as_f32().unwrap()[0].is_nan());
}

#[test]
fn a_parsed_graph_is_built_on_with_fresh_names() {
    let mut g = Graph::new("names");
    let x = g.input("x", DType::F32, [2]).unwrap();
    let y = g.scope("block", |g| g.relu(x).and_then(|y| g.relu(y))).unwrap();
    let mut back = Graph::parse(&g.to_string()).unwrap();
    let z = back.scope("block", |g| g.relu(y)).unwrap();
    assert_eq!(back.node(z.node).name, "block.relu_2");
}

#[test]
fn lines_may_stand_in_any_order_between_comments() {
    let text = "// a graph\n\ngraph \"g\" {\n  output \"y\" = %1\n  // the second first\n\
                %1 = Unary( Relu ) ( %0 ) \"relu\" : f32[ 2 ]\n%0 = Input((dtype: F32, shape: [2])) () \"x\" : f32[2]\n}\n\n";
    let graph = Graph::parse(text).unwrap();
    let canonical = "graph \"g\" {\n  %0 = Input((dtype:F32,shape:[2])) () \"x\" : f32[2]\n  \
                     %1 = Unary(Relu) (%0) \"relu\" : f32[2]\n  output \"y\" = %1\n}\n";
    assert_eq!(graph.to_string(), canonical);
}

/// Lines put into a graph of `%0 = x f32[2]` and `%1 = w f32[2]` (a parameter), and what is said about them.
#[test]
fn every_mistake_is_named_with_its_line() {
    let x = "%0 = Input((dtype:F32,shape:[2])) () \"x\" : f32[2]";
    let w = "%1 = Parameter((dtype:F32,shape:[2]),Constant(0.0)) () \"w\" : f32[2]";
    let cases = [
        ("nonsense", "a line is"),
        ("output y = %0", "expected a name in quotes; found `y = %0`"),
        ("output \"y = %0", "expected a name in quotes"),
        ("output \"y\" %0", "expected `=`"),
        ("output \"y\" = %0 %0", "expected the end of the line; found `%0`"),
        ("output \"y\" = %7", "operand %7 does not exist"),
        ("output \"y\" = %0.1", "operand %0.1 does not exist"),
        ("output \"y\" = %", "expected a node's id, a number; found the end of the line"),
        ("output \"y\" = %99999999999", "expected a node's id"),
        ("output \"z\" = %0\noutput \"z\" = %0", "output \"z\" exists already"),
        ("update %0 = %1", "only a parameter or a buffer"),
        ("update %1 = %0\nupdate %1 = %0", "update of a state \"w\" exists already"),
        ("update %9 = %0", "operand %9 does not exist"),
        ("%2 = Unary(Relu) (%0) \"r\" : f32[3]", "%2 is declared f32[3], but the operation gives f32[2]"),
        ("%2 = Unary(Relu) (%0) \"r\" : f32[2], f32[2]", "%2 is declared f32[2], f32[2], but"),
        ("%2 = Unary(Relu) (%0) \"r\" : f64[2]", "expected a type such as `f32[2,3]`; found `f64[2]`"),
        ("%2 = Unary(Relu) (%0) \"r\" : f32[2", "expected `]`"),
        ("%2 = Unary(Relu) (%0) \"r\" : f32[-2]", "expected an extent, a number"),
        ("%2 = Unary(Relu) (%0) \"r\"", "expected `:`"),
        ("%2 = Unary(Relu) (%0) : f32[2]", "expected a name in quotes"),
        ("%2 = Unary(Relu) (%0 \"r\" : f32[2]", "expected `)`"),
        ("%2 = Unary(Relu) %0 \"r\" : f32[2]", "expected `(`"),
        ("%2 = Unary(Relu) (%0, %1) \"r\" : f32[2]", "takes 1 operands, got 2"),
        ("%2 = Unary(Relu) (%5) \"r\" : f32[2]", "operand %5 does not exist"),
        ("%2 = Unary(Rely) (%0) \"r\" : f32[2]", "expected an operation: "),
        ("%2 = Unary(Relu (%0) \"r\" : f32[2]", "expected an operation: "),
        ("%2 = Unary(Relu) (%2) \"r\" : f32[2]", "%2 needs its own result"),
        ("%3 = Unary(Relu) (%0) \"r\" : f32[2]", "%3 is not one of %0 to %2"),
        ("%1 = Unary(Relu) (%0) \"r\" : f32[2]", "%1 is defined twice"),
        ("%2 = Input((dtype:F32,shape:[1])) () \"w\" : f32[1]", "input or state \"w\" exists already"),
        ("%2 = Constant((shape:[3],data:F32([1.0]))) () \"c\" : f32[3]", "shape [3] has 3 elements, got 1"),
        ("%2 = Input((dtype:F32,shape:[0])) () \"z\" : f32[0]", "has no elements"),
        ("}\noutput \"y\" = %0", "nothing follows the closing `}`"),
    ];
    for (lines, expected) in cases {
        let (line, reason) = parse_error(&format!("graph \"g\" {{\n{x}\n{w}\n{lines}\n}}\n"));
        let (expected_line, _) = lines.lines().enumerate().last().unwrap();
        assert!(reason.contains(expected), "{lines}: {reason}");
        // the last defined node is the second `%1`; all other mistakes are in the last line given
        assert_eq!(line, 4 + expected_line, "{lines}: {reason}");
    }
    for (text, expected) in [
        ("", "the text ends before `graph"),
        ("// nothing", "the text ends before `graph"),
        ("graph g {", "expected a name in quotes"),
        ("graph \"g\"", "expected `{`"),
        ("graph \"g\" {", "the text ends before the closing `}`"),
        ("graph \"g\" { }", "expected the end of the line"),
    ] {
        let (line, reason) = parse_error(text);
        assert_eq!(line, 1);
        assert!(reason.contains(expected), "{text}: {reason}");
    }
}

/// Attributes that are well formed and absurd: the arithmetic of shapes must refuse them.
#[test]
fn absurd_attributes_are_refused() {
    let n = usize::MAX;
    let image = "(%0) \"a\" : f32[1]";
    let cases = [
        format!("Reshape([{n},{n}]) {image}"),
        format!("Broadcast([{n},2,4,4,3]) {image}"),
        format!("Pad((low:[{n},0,0,0],high:[{n},0,0,0],value:0.0)) {image}"),
        format!("Slice((start:[0,0,0,{n}],stop:[2,4,4,{n}],step:[{n},1,1,1])) {image}"),
        format!("Concat({n}) {image}"),
        format!("Transpose([0,1,2,{n}]) {image}"),
        format!("Reduce((kind:Sum,axes:[{n}],keep_dims:false)) {image}"),
        format!("Softmax({n}) {image}"),
        format!("OneHot({n}) (%1) \"a\" : f32[1]"),
        format!("MaxPool((size:({n},{n}),stride:(1,1),padding:((0,{n}),(0,0)),count_padding:true)) {image}"),
        "AvgPool((size:(0,1),stride:(1,1),padding:((0,0),(0,0)),count_padding:true)) ".to_string() + image,
        format!("Conv2d((stride:(1,1),padding:(({n},{n}),(0,0)),dilation:({n},1),groups:{n})) (%0, %2) \"a\" : f32[1]"),
        format!("Conv2d((stride:(1,1),padding:(({n},{n}),(0,0)),dilation:(1,1),groups:1)) (%0, %2) \"a\" : f32[1]"),
        "Conv2d((stride:(0,1),padding:((0,0),(0,0)),dilation:(1,1),groups:0)) (%0, %2) \"a\" : f32[1]".to_string(),
        format!(
            "Conv2dGradInput((stride:(1,1),padding:((0,0),(0,0)),dilation:(1,1),groups:1),[{n},{n},0,3]) (%0, %2) \"a\" : f32[1]"
        ),
        format!("Random((shape:[{n},{n}],stream:0)) (%3, %3) \"a\" : f32[1]"),
        format!("Fused((anchor:Map([]),chunks:{n},source:(steps:[],value:0,outputs:[]),gradient:(steps:[],value:0,outputs:[]),result:(steps:[Constant(1.0)],value:0,outputs:[Full(0)]))) () \"a\" : f32[1]"),
        "Fused((anchor:Map([0]),chunks:1,source:(steps:[],value:0,outputs:[]),gradient:(steps:[],value:0,outputs:[]),result:(steps:[],value:0,outputs:[]))) () \"a\" : f32[1]".to_string(),
        "Fused((anchor:Conv2d(conv:(stride:(1,1),padding:((0,0),(0,0)),dilation:(1,1),groups:1),input:[],weight:[]),chunks:1,source:(steps:[],value:0,outputs:[]),gradient:(steps:[],value:0,outputs:[]),result:(steps:[],value:0,outputs:[]))) () \"a\" : f32[1]".to_string(),
        "Fused((anchor:Map([2]),chunks:1,source:(steps:[],value:0,outputs:[]),gradient:(steps:[],value:0,outputs:[]),result:(steps:[Binary(Add,1,0),Anchor],value:9,outputs:[Full(3)]))) () \"a\" : f32[1]".to_string(),
    ];
    for case in cases {
        let text = format!(
            "graph \"g\" {{\n%0 = Input((dtype:F32,shape:[2,4,4,3])) () \"x\" : f32[2,4,4,3]\n\
             %1 = Input((dtype:I32,shape:[2])) () \"i\" : i32[2]\n\
             %2 = Input((dtype:F32,shape:[3,3,3,5])) () \"w\" : f32[3,3,3,5]\n\
             %3 = Input((dtype:I32,shape:[])) () \"s\" : i32[]\n%4 = {case}\n}}\n"
        );
        let (line, reason) = parse_error(&text);
        assert_eq!(line, 6, "{case}: {reason}");
        assert!(!reason.contains("expected"), "the case is not well formed: {case}: {reason}");
    }
}

/// One random edit of a text: positions and lengths are shares of 2¹⁶ of what is there.
#[derive(Clone, Debug)]
enum Edit {
    Cut(u16),
    Delete(u16, u8),
    Insert(u16, String),
    MoveLine(u16, u16),
    CopyLine(u16, u16),
    DropLine(u16),
}

fn edits() -> impl Strategy<Value = Edit> {
    let tokens = [
        "(",
        ")",
        "[",
        "]",
        "{",
        "}",
        "\"",
        "\\",
        ",",
        ":",
        "%",
        "=",
        ".",
        "-",
        "0",
        "1",
        "9",
        "4294967295",
        "18446744073709551615",
        "inf",
        "NaN",
        "1e99",
        "f32",
        "i32[2]",
        "Unary(Relu)",
        "Constant",
        "output",
        "update",
        "//",
        "\n",
        " ",
        "é",
        "\u{0}",
    ];
    prop_oneof![
        1 => any::<u16>().prop_map(Edit::Cut),
        4 => (any::<u16>(), 0u8..12).prop_map(|(at, n)| Edit::Delete(at, n)),
        6 => (any::<u16>(), prop::sample::select(tokens.to_vec())).prop_map(|(at, t)| Edit::Insert(at, t.to_string())),
        1 => (any::<u16>(), any::<char>()).prop_map(|(at, c)| Edit::Insert(at, c.to_string())),
        2 => (any::<u16>(), any::<u16>()).prop_map(|(from, to)| Edit::MoveLine(from, to)),
        1 => (any::<u16>(), any::<u16>()).prop_map(|(from, to)| Edit::CopyLine(from, to)),
        2 => any::<u16>().prop_map(Edit::DropLine),
    ]
}

fn edited(text: &str, edit: &Edit) -> String {
    let share = |at: u16, of: usize| (usize::from(at) * of) >> 16;
    let chars: Vec<char> = text.chars().collect();
    let mut lines: Vec<&str> = text.lines().collect();
    if lines.is_empty() {
        return text.to_string();
    }
    match edit {
        Edit::Cut(at) => chars[..share(*at, chars.len())].iter().collect(),
        Edit::Delete(at, n) => {
            let at = share(*at, chars.len());
            chars[..at].iter().chain(chars.iter().skip(at + usize::from(*n))).collect()
        }
        Edit::Insert(at, token) => {
            let at = share(*at, chars.len());
            chars[..at].iter().copied().chain(token.chars()).chain(chars[at..].iter().copied()).collect()
        }
        Edit::MoveLine(from, to) => {
            let line = lines.remove(share(*from, lines.len()));
            lines.insert(share(*to, lines.len() + 1), line);
            lines.join("\n")
        }
        Edit::CopyLine(from, to) => {
            let line = lines[share(*from, lines.len())];
            lines.insert(share(*to, lines.len() + 1), line);
            lines.join("\n")
        }
        Edit::DropLine(at) => {
            lines.remove(share(*at, lines.len()));
            lines.join("\n")
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 2000, failure_persistence: None, ..ProptestConfig::default() })]

    /// A damaged text is refused as a parse error or is a valid graph, which then returns; nothing panics.
    #[test]
    fn damaged_texts_do_no_harm(edits in prop::collection::vec(edits(), 1..6)) {
        let mut text = rich().to_string();
        for edit in &edits {
            text = edited(&text, edit);
        }
        match Graph::parse(&text) {
            Ok(graph) => {
                prop_assert!(graph.verify().is_ok());
                let again = Graph::parse(&graph.to_string()).map(|g| g.to_string());
                prop_assert_eq!(again.ok(), Some(graph.to_string()));
            }
            Err(Error::Parse { line, .. }) => prop_assert!(line >= 1 && line <= text.lines().count().max(1)),
            Err(other) => prop_assert!(false, "not a parse error: {:?}", other),
        }
    }
}
