//! Parameters after the seven steps, as PyTorch 2.15 computes them in float64 from the same start, rates and loss:
//!
//! ```python
//! p = torch.tensor(START, requires_grad=True)
//! o = torch.optim.SGD([p], …)
//! for lr in RATES:
//!     o.param_groups[0]["lr"] = lr
//!     o.zero_grad(); (CURVATURE * (p - TARGET) ** 2 / 2).sum().backward(); o.step()
//! ```

use outrigger::train::optimizer::{Adagrad, Adam, AdamW, Optimizer, RmsProp, Sgd, TrainingOptions};

use crate::{close, joined, trained};

fn check(optimizer: Optimizer, want: [f64; 5]) {
    let state = trained(&TrainingOptions { optimizer, ..TrainingOptions::default() });
    close(&joined(&state, ""), &want, &format!("{optimizer:?}"));
}

#[test]
fn sgd() {
    // SGD([p])
    let want = [0.933617152, 0.168433555996, -0.749090326397, -0.00884736, 2.096249305];
    check(Optimizer::Sgd(Sgd::default()), want);
    // SGD([p], momentum=0.875, nesterov=True)
    let nesterov = Sgd { momentum: 0.875, nesterov: true, ..Sgd::default() };
    check(Optimizer::Sgd(nesterov), [1.01592064102, -2.70162729821, -0.746259945516, 0.4259203125, 6.51831875313]);
    // SGD([p], momentum=0.875, dampening=0.25, weight_decay=0.125)
    let damped = Sgd { momentum: 0.875, dampening: 0.25, weight_decay: 0.125, ..Sgd::default() };
    check(Optimizer::Sgd(damped), [1.38320748768, -2.20570637227, -0.519827244299, 1.42361931534, 6.71000224831]);
}

#[test]
fn adam_and_adamw() {
    // Adam([p])
    let want = [1.12624149852, 0.59711324046, 0.117160448929, 1.10464626033, -0.344413144662];
    check(Optimizer::Adam(Adam::default()), want);
    // Adam([p], betas=(0.5, 0.5), amsgrad=True)
    let amsgrad = Adam { beta1: 0.5, beta2: 0.5, amsgrad: true, ..Adam::default() };
    let want = [0.955651332251, 0.611767349019, -0.00564290270766, 1.15421936823, -0.350575358854];
    check(Optimizer::Adam(amsgrad), want);
    // AdamW([p])
    let want = [1.12118568286, 0.586874717251, 0.120324005979, 1.09012006358, -0.336385076029];
    check(Optimizer::AdamW(AdamW::default()), want);
}

#[test]
fn rmsprop() {
    // RMSprop([p])
    let want = [1.0967923062, -1.69980883201, 0.249998718668, -0.00669099650833, 2.56876849934];
    check(Optimizer::RmsProp(RmsProp::default()), want);
    // RMSprop([p], centered=True, momentum=0.875, weight_decay=0.125, alpha=0.75)
    let centered = RmsProp { centered: true, momentum: 0.875, weight_decay: 0.125, alpha: 0.75, ..RmsProp::default() };
    let want = [0.822932369904, -3.35484863602, 0.100946263923, -1.58427593354, 4.60722701401];
    check(Optimizer::RmsProp(centered), want);
}

#[test]
fn adagrad() {
    // Adagrad([p])
    let want = [0.707588071708, 1.03483941172, -0.318994487146, 1.54443878339, -0.780747528467];
    check(Optimizer::Adagrad(Adagrad::default()), want);
    // Adagrad([p], lr_decay=0.5, weight_decay=0.125, initial_accumulator_value=0.25)
    let slower = Adagrad { lr_decay: 0.5, weight_decay: 0.125, initial_accumulator_value: 0.25, ..Adagrad::default() };
    let want = [0.521451055697, 1.26170898983, -0.682555790488, 1.75909457054, -1.00674629503];
    check(Optimizer::Adagrad(slower), want);
}
