//! Element-wise operations. All operands of one node are taken in one order of axes.

use super::order::{Order, identity};
use super::proto::DataType;
use super::writer::{Writer, data_type, float, int};
use crate::error::Error;
use crate::graph::Value;
use crate::ops::{Binary, Unary};
use crate::tensor::{Data, Tensor};
use crate::types::DType;

/// Operands of one element-wise node with the result `result`, and the order that they and it have: that of the first
/// operand with all axes that is not in the graph's own order, so that what is channels first stays so.
pub(super) fn aligned(w: &mut Writer<'_>, operands: &[Value], result: Value) -> Result<(Vec<String>, Order), Error> {
    let rank = w.rank(result);
    let mut orders = operands.iter().filter(|&&v| w.rank(v) == rank).filter_map(|&v| w.held(v));
    let order = orders.find(|order| !order.is_sorted()).cloned().unwrap_or_else(|| identity(rank));
    let tensors = operands.iter().map(|&v| w.stretched(v, &order)).collect::<Result<_, _>>()?;
    Ok((tensors, order))
}

/// `f(x)`.
pub(super) fn unary(w: &mut Writer<'_>, op: Unary, x: Value, y: Value, path: &str) -> Result<(), Error> {
    let order = w.order(x);
    let x = [w.take(x, &order)?];
    let part = |name: &str| format!("{path}.{name}");
    let plain = |w: &mut Writer<'_>, kind: &str| w.node(kind, &x, Vec::new(), path);
    let tensor = match op {
        Unary::Neg => plain(w, "Neg"),
        Unary::Abs => plain(w, "Abs"),
        Unary::Sign => plain(w, "Sign"),
        Unary::Exp => plain(w, "Exp"),
        Unary::Log => plain(w, "Log"),
        Unary::Sqrt => plain(w, "Sqrt"),
        Unary::Rsqrt => {
            let root = w.node("Sqrt", &x, Vec::new(), &part("sqrt"));
            w.node("Reciprocal", &[root], Vec::new(), path)
        }
        Unary::Relu => plain(w, "Relu"),
        Unary::LeakyRelu(slope) => w.node("LeakyRelu", &x, vec![float("alpha", slope)], path),
        Unary::Sigmoid => plain(w, "Sigmoid"),
        Unary::Tanh => plain(w, "Tanh"),
        Unary::Erf => plain(w, "Erf"),
        Unary::Gelu => {
            // x/2 · (1 + erf(x/√2)): an operator of its own only since opset 20
            let [x] = &x;
            let number = |w: &mut Writer<'_>, value: f32, name: &str| w.constant(&Tensor::scalar(value), &part(name));
            let root = number(w, std::f32::consts::FRAC_1_SQRT_2, "sqrt_half");
            let scaled = w.node("Mul", &[x.clone(), root], Vec::new(), &part("scaled"));
            let erf = w.node("Erf", &[scaled], Vec::new(), &part("erf"));
            let one = number(w, 1.0, "one");
            let twice = w.node("Add", &[erf, one], Vec::new(), &part("add"));
            let half = number(w, 0.5, "half");
            let halved = w.node("Mul", &[x.clone(), half], Vec::new(), &part("halved"));
            w.node("Mul", &[halved, twice], Vec::new(), path)
        }
        Unary::Silu => {
            let gate = w.node("Sigmoid", &x, Vec::new(), &part("sigmoid"));
            let [x] = x;
            w.node("Mul", &[x, gate], Vec::new(), path)
        }
        Unary::Softplus => plain(w, "Softplus"),
        Unary::Clamp(low, high) => {
            let [x] = x;
            clip(w, x, [Tensor::scalar(low), Tensor::scalar(high)], path)
        }
    };
    w.set(y, order, tensor);
    Ok(())
}

fn clip(w: &mut Writer<'_>, x: String, limits: [Tensor; 2], path: &str) -> String {
    let low = w.constant(&limits[0], &format!("{path}.low"));
    let high = w.constant(&limits[1], &format!("{path}.high"));
    w.node("Clip", &[x, low, high], Vec::new(), path)
}

/// `f(a, b)`; comparisons give numbers, not truth values.
pub(super) fn binary(w: &mut Writer<'_>, op: Binary, operands: [Value; 2], y: Value, path: &str) -> Result<(), Error> {
    let (x, order) = aligned(w, &operands, y)?;
    let dtype = w.graph.ty(y).dtype;
    let plain = |w: &mut Writer<'_>, kind: &str| w.node(kind, &x, Vec::new(), path);
    let compared = |w: &mut Writer<'_>, kind: &str| {
        let truth = w.node(kind, &x, Vec::new(), &format!("{path}.truth"));
        w.node("Cast", &[truth], vec![int("to", data_type(dtype) as i64)], path)
    };
    let tensor = match op {
        Binary::Add => plain(w, "Add"),
        Binary::Sub => plain(w, "Sub"),
        Binary::Mul => plain(w, "Mul"),
        Binary::Div if dtype == DType::I32 => divided(w, &x, path)?,
        Binary::Div => plain(w, "Div"),
        Binary::Max => plain(w, "Max"),
        Binary::Min => plain(w, "Min"),
        Binary::Greater => compared(w, "Greater"),
        Binary::GreaterEqual => compared(w, "GreaterOrEqual"),
        Binary::Equal => compared(w, "Equal"),
    };
    w.set(y, order, tensor);
    Ok(())
}

/// The quotient of integers. ONNX leaves a division by 0, and -2³¹ by -1, to the machine, which may end the process; a
/// graph gives 0, and wraps around.
fn divided(w: &mut Writer<'_>, x: &[String], path: &str) -> Result<String, Error> {
    let [a, b] = x else {
        return Err(Error::Export { path: path.to_string(), reason: "takes two operands".to_string() });
    };
    let (a, b) = (a.clone(), b.clone());
    let part = |name: &str| format!("{path}.{name}");
    let mut number =
        |value: i32, name: &str| Tensor::i32([], vec![value]).map(|tensor| w.constant(&tensor, &part(name)));
    let (zero, one, minus) = (number(0, "zero")?, number(1, "one")?, number(-1, "minus_one")?);
    let mut node = |kind: &str, operands: [&String; 2], name: &str| {
        w.node(kind, &operands.map(String::clone), Vec::new(), &part(name))
    };
    let by_zero = node("Equal", [&b, &zero], "by_zero");
    let by_minus_one = node("Equal", [&b, &minus], "by_minus_one");
    let special = node("Or", [&by_zero, &by_minus_one], "special");
    let safe = w.node("Where", &[special, one, b], Vec::new(), &part("divisor"));
    let quotient = w.node("Div", &[a.clone(), safe], Vec::new(), &part("quotient"));
    let negated = w.node("Neg", &[a], Vec::new(), &part("negated"));
    let signed = w.node("Where", &[by_minus_one, negated, quotient], Vec::new(), &part("signed"));
    Ok(w.node("Where", &[by_zero, zero, signed], Vec::new(), path))
}

/// `condition != 0 ? a : b`.
pub(super) fn select(w: &mut Writer<'_>, operands: [Value; 3], y: Value, path: &str) -> Result<(), Error> {
    let (mut x, order) = aligned(w, &operands, y)?;
    let to_bool = vec![int("to", DataType::Bool as i64)];
    x[0] = w.node("Cast", &x[..1], to_bool, &format!("{path}.truth"));
    let tensor = w.node("Where", &x, Vec::new(), path);
    w.set(y, order, tensor);
    Ok(())
}

/// Conversion of element type. ONNX leaves it to the machine what becomes of a number outside the new type; a graph gives
/// the nearest that there is, and 0 for NaN.
pub(super) fn cast(w: &mut Writer<'_>, to: DType, x: Value, y: Value, path: &str) -> Result<(), Error> {
    let from = w.graph.ty(x).dtype;
    if from == to {
        let plain = identity(w.rank(x));
        return w.pass_on(y, x, &plain, <[usize]>::to_vec);
    }
    let order = w.order(x);
    let mut tensor = w.take(x, &order)?;
    let part = |name: &str| format!("{path}.{name}");
    let convert = |w: &mut Writer<'_>, x: String, to: DataType, path: &str| {
        w.node("Cast", &[x], vec![int("to", to as i64)], path)
    };
    if from == DType::F32 {
        let nan = w.node("IsNaN", &[tensor.clone()], Vec::new(), &part("nan"));
        let zero = w.constant(&Tensor::scalar(0.0), &part("zero"));
        tensor = w.node("Where", &[nan, zero, tensor], Vec::new(), &part("number"));
    }
    let limits = match (from, to) {
        // 2³¹ is a float and no i32; the way there is through i64
        (DType::F32, DType::I32) => Some([-2_147_483_648.0, 2_147_483_648.0].map(Tensor::scalar)),
        (DType::F32, DType::U8) => Some([0.0, 255.0].map(Tensor::scalar)),
        (DType::I32, DType::U8) => Some([Tensor::i32([], vec![0])?, Tensor::i32([], vec![255])?]),
        (DType::F32 | DType::I32 | DType::U8 | DType::Bf16, _) => None,
    };
    if let Some(limits) = limits {
        tensor = clip(w, tensor, limits, &part("limited"));
    }
    if (from, to) == (DType::F32, DType::I32) {
        let wide = convert(w, tensor, DataType::Int64, &part("wide"));
        let largest = w.integer(i64::from(i32::MAX), &part("largest"));
        tensor = w.node("Min", &[wide, largest], Vec::new(), &part("least"));
    }
    let tensor = convert(w, tensor, data_type(to), path);
    w.set(y, order, tensor);
    Ok(())
}

/// `i32[..] → f32[.., classes]`.
pub(super) fn one_hot(w: &mut Writer<'_>, classes: usize, x: Value, y: Value, path: &str) -> Result<(), Error> {
    let labels = w.take(x, &identity(w.rank(x)))?;
    let part = |name: &str| format!("{path}.{name}");
    // the pair of index and depth types that runtimes implement
    let labels = w.node("Cast", &[labels], vec![int("to", DataType::Int64 as i64)], &part("labels"));
    let depth = w.integer(classes as i64, &part("depth"));
    let values = w.constant(&Tensor::new([2], Data::F32(vec![0.0, 1.0]))?, &part("values"));
    let tensor = w.node("OneHot", &[labels, depth, values], vec![int("axis", -1)], path);
    w.set(y, identity(w.rank(y)), tensor);
    Ok(())
}
