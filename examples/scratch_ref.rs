use std::collections::HashMap;
use outrigger::*;
use outrigger::reference::*;
use outrigger::model::*;
use outrigger::train::*;
use outrigger::train::optimizer::*;
fn main() {
    let a: Vec<String> = std::env::args().collect();
    let file = WeightFile::read(a[1].as_ref()).unwrap();
    let keras = a[1].contains("keras");
    let noise: f64 = a.get(2).map_or(0.0, |s| s.parse().unwrap());
    let form = if keras { Form::Keras } else { Form::Torch };
    let model = ResNetCifar { layers: [2, 2, 2], form, classes: 10 };
    let forward = model.training(100).unwrap();
    let loss = forward.output("loss").unwrap();
    let opt = if keras { Optimizer::keras_adam() } else { Optimizer::Adam(Default::default()) };
    let g = training_graph(forward, loss, &opt).unwrap();
    let store = Store::new(&g, 0).unwrap();
    file.section("init/").restore(&store, file.layout().unwrap(), Restore::Model).unwrap();
    let mut state: HashMap<String, RefTensor> = store.entries().iter().map(|(n, _)| (n.clone(), RefTensor::from(&store.get(n).unwrap()))).collect();
    let mut x = 1u64;
    for (_, t) in state.iter_mut() { for v in t.data.iter_mut() { x = x.wrapping_mul(6364136223846793005).wrapping_add(1442695040888963407); *v *= 1.0 + noise * ((x >> 40) as f64 / 8388608.0 - 1.0); } }
    let data = outrigger::data::load_dir("../shared/cifar10/sample".as_ref()).unwrap().train;
    let losses: Vec<f64> = serde_json::from_str(file.meta("losses").unwrap()).unwrap();
    for s in 0..10 {
        let t = std::time::Instant::now();
        let px: Vec<f64> = (s * 100..s * 100 + 100).flat_map(|i| data.image(i).unwrap().iter().map(|&b| b as f64 / 255.0).collect::<Vec<_>>()).collect();
        let lb: Vec<f64> = (s * 100..s * 100 + 100).map(|i| data.labels()[i] as f64).collect();
        let mut inputs = HashMap::new();
        inputs.insert("images".to_string(), RefTensor::f32([100, 32, 32, 3], px).unwrap());
        inputs.insert("labels".to_string(), RefTensor::new(types::TensorType::new(DType::I32, [100]), lb).unwrap());
        inputs.insert("lr".to_string(), RefTensor::f32(Shape::scalar(), vec![if std::env::var("LR").is_ok() { 1e-3f32 as f64 } else { 1e-3 }]).unwrap());
        let out = run_exact(&g, &inputs, &state).unwrap();
        let l = out.outputs["loss"].data[0];
        println!("{s} {l:.9} rel {:.3e} ({:.1}s)", (l - losses[s]) / losses[s], t.elapsed().as_secs_f64());
        for (n, v) in out.updates { state.insert(n, v); }
        if s == 0 {
            for (n, t) in &state {
                let key = format!("after1/{n}");
                if !file.contains(&key) { continue; }
                let mut w = file.tensor(&key).unwrap();
                if form == Form::Torch { w = file.layout().unwrap().from_file(&w).unwrap(); }
                let w = w.to_f64();
                let (mut num, mut den, mut mx) = (0.0, 0.0, (0.0f64, 0, 0.0, 0.0));
                for (i, (a, b)) in t.data.iter().zip(&w).enumerate() { num += (a - b) * (a - b); den += b * b; if (a - b).abs() > mx.0 { mx = ((a - b).abs(), i, *a, *b); } }
                println!("   {n} rel {:.2e} max {:?}", (num / den).sqrt(), mx);
            }
            if std::env::var("ONE").is_ok() { return; }
        }
    }
}
