//! candle: the network with Adam, training and inference.

use candle_core::{D, DType, Device, Tensor};
use candle_nn::{
    AdamW, BatchNorm, Conv2d, Conv2dConfig, Linear, Module, ModuleT, Optimizer, ParamsAdamW, VarBuilder, VarMap,
    batch_norm, conv2d_no_bias, linear, loss,
};
use peers::{Arguments, CLASSES, Result, check_parameters, inference, median_ms, noise, peak_mb, version};
use serde_json::json;

struct ConvNorm {
    conv: Conv2d,
    norm: BatchNorm,
}

impl ConvNorm {
    fn new(inputs: usize, outputs: usize, stride: usize, vb: VarBuilder<'_>) -> candle_core::Result<ConvNorm> {
        let config = Conv2dConfig { padding: 1, stride, ..Conv2dConfig::default() };
        let conv = conv2d_no_bias(inputs, outputs, 3, config, vb.pp("conv"))?;
        Ok(ConvNorm { conv, norm: batch_norm(outputs, 1e-5, vb.pp("norm"))? })
    }
}

impl ModuleT for ConvNorm {
    fn forward_t(&self, x: &Tensor, train: bool) -> candle_core::Result<Tensor> {
        self.norm.forward_t(&self.conv.forward(x)?, train)
    }
}

struct Block {
    first: ConvNorm,
    second: ConvNorm,
    shortcut: Option<ConvNorm>,
}

impl ModuleT for Block {
    fn forward_t(&self, x: &Tensor, train: bool) -> candle_core::Result<Tensor> {
        let y = self.first.forward_t(x, train)?.relu()?;
        let y = self.second.forward_t(&y, train)?;
        match &self.shortcut {
            Some(shortcut) => (y + shortcut.forward_t(x, train)?)?.relu(),
            None => (y + x)?.relu(),
        }
    }
}

struct Network {
    stem: ConvNorm,
    blocks: Vec<Block>,
    classifier: Linear,
}

impl Network {
    fn new(vb: VarBuilder<'_>) -> candle_core::Result<Network> {
        let (mut blocks, mut inputs) = (Vec::new(), 16);
        for (stage, outputs) in [16, 32, 64].into_iter().enumerate() {
            for block in 0..2 {
                let stride = if stage > 0 && block == 0 { 2 } else { 1 };
                let vb = vb.pp(format!("layer{}.{block}", stage + 1));
                let shortcut = match stride {
                    1 => None,
                    _ => Some(ConvNorm::new(inputs, outputs, stride, vb.pp("shortcut"))?),
                };
                let first = ConvNorm::new(inputs, outputs, stride, vb.pp("first"))?;
                let second = ConvNorm::new(outputs, outputs, 1, vb.pp("second"))?;
                blocks.push(Block { first, second, shortcut });
                inputs = outputs;
            }
        }
        let stem = ConvNorm::new(3, 16, 1, vb.pp("stem"))?;
        Ok(Network { stem, blocks, classifier: linear(64, CLASSES, vb.pp("classifier"))? })
    }
}

impl ModuleT for Network {
    fn forward_t(&self, x: &Tensor, train: bool) -> candle_core::Result<Tensor> {
        let mut x = self.stem.forward_t(x, train)?.relu()?;
        for block in &self.blocks {
            x = block.forward_t(&x, train)?;
        }
        self.classifier.forward(&x.mean(D::Minus1)?.mean(D::Minus1)?)
    }
}

fn main() -> Result<()> {
    let arguments = Arguments::parse()?;
    println!("loaded");
    let (batch, device, variables) = (arguments.batch, Device::Cpu, VarMap::new());
    let network = Network::new(VarBuilder::from_varmap(&variables, DType::F32, &device))?;
    let trained = {
        let all = variables.data().lock().map_err(|e| e.to_string())?;
        let trained = all.iter().filter(|(name, _)| !name.contains("running_"));
        trained.map(|(_, variable)| variable.clone()).collect::<Vec<_>>()
    };
    check_parameters(trained.iter().map(|variable| variable.elem_count()).sum())?;
    let adam = ParamsAdamW { lr: 0.001, weight_decay: 0.0, ..ParamsAdamW::default() };
    let mut optimizer = AdamW::new(trained, adam)?;
    let images = Tensor::from_vec(noise(batch * 3 * 32 * 32), (batch, 3, 32, 32), &device)?;
    let labels = Tensor::from_vec((0..batch).map(|i| (i % CLASSES) as u32).collect(), batch, &device)?;
    let one = images.narrow(0, 0, 1)?.contiguous()?;

    let mut train_step = || -> Result<()> {
        let loss = loss::cross_entropy(&network.forward_t(&images, true)?, &labels)?;
        optimizer.backward_step(&loss)?;
        loss.to_scalar::<f32>()?;
        Ok(())
    };
    train_step()?;
    println!("stepped");
    let train_step_ms = median_ms(arguments.steps, train_step)?;
    let mut result = json!({ "version": version("candle-core"), "train_step_ms": train_step_ms, "rss_mb": peak_mb() });
    inference(&arguments, &mut result, |size| {
        network.forward_t(if size == 1 { &one } else { &images }, false)?;
        Ok(())
    })?;
    println!("{result}");
    Ok(())
}
