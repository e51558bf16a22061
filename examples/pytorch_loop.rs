//! The seed's PyTorch program: an explicit loop of forward, loss, backward and step, a rate that falls, a test.
//!
//! ```sh
//! cargo run --release --example pytorch_loop
//! ```

use outrigger::prelude::*;

fn main() -> Result<(), Error> {
    let num_epochs = 3;
    let mut curr_lr = 0.001;

    let cifar10 = data::sample()?;
    let transform = Compose::new().then(Pad::new(4)).then(RandomHorizontalFlip::default()).then(RandomCrop::new(32));
    let options = LoaderOptions { batch_size: 100, ..LoaderOptions::default() };
    let train_loader = DataLoader::new(cifar10.train, options)?.transform(transform);
    let test_loader = DataLoader::new(cifar10.test, LoaderOptions { shuffle: false, ..options })?;

    let mut model = Model::of(models::resnet_cifar([2, 2, 2]).network()?, ModelOptions::default())?;
    print!("{}", model.summary()?);
    model.compile(Adam::default().lr(curr_lr), Loss::cross_entropy(), ())?;

    let total_step = train_loader.batches();
    for epoch in 0..num_epochs {
        model.train();
        for (i, batch) in train_loader.epoch(epoch).enumerate() {
            let batch = batch?;
            model.forward(&batch)?;
            let loss = model.loss(&batch)?;

            model.zero_grad()?;
            model.backward()?;
            model.step()?;

            if (i + 1) % 10 == 0 {
                println!("Epoch [{}/{num_epochs}], Step [{}/{total_step}] Loss: {loss:.4}", epoch + 1, i + 1);
            }
        }
        if (epoch + 1) % 20 == 0 {
            curr_lr /= 3.0;
            model.set_learning_rate(curr_lr)?;
        }
    }

    model.eval();
    let mut accuracy = Accuracy::new();
    for batch in test_loader.epoch(0) {
        let batch = batch?;
        let outputs = model.forward(&batch)?;
        accuracy.update(&outputs[0], &Tensor::i32([batch.len()], batch.labels)?)?;
    }
    println!("Accuracy of the model on the test images: {:.2} %", 100.0 * accuracy.value());

    model.save_weights(std::env::temp_dir().join("resnet.safetensors"))
}
