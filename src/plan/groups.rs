//! Groups: runs of steps that a worker takes for one image after another, without waiting for the others.
//!
//! ```text
//!   by steps                                 as a group
//!     conv1  img0 img1 img2 …  │ barrier       worker 0:  img0: conv1 conv2 pool   img2: conv1 conv2 pool …
//!     conv2  img0 img1 img2 …  │ barrier       worker 1:  img1: conv1 conv2 pool   img3: …
//!     pool   img0 img1 img2 …
//! ```
//!
//! Inference only: a training graph sums over the batch in every layer. What a group makes and nobody else
//! reads needs memory for one image and worker, not for the batch ([`Place::Image`](super::Place::Image)), and
//! stays in that worker's cache.

use std::ops::Range;

use super::tasks::{Origin, Task, Tasks};
use crate::ops::{Anchor, Fused, Op};
use crate::types::Shape;

/// Images from which a group keeps a team busy; smaller batches share out the rows of an image instead.
const FEWEST_IMAGES: usize = 8;

/// Bytes of a weight that stays in a worker's cache from one image to the next. A larger one would be read again for each
/// image; a step by itself can take several images, or a part of the weight, at a time.
const LARGEST_WEIGHT: usize = 2 << 20;

/// A run of steps of which every one treats each image (index of the first axis) by itself.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Group {
    /// Positions of the steps.
    pub steps: Range<usize>,
    /// Images: the extent of the first axis of all that the steps walk.
    pub images: usize,
}

/// The groups of `order`, as positions in it.
pub(super) fn find(all: &Tasks, order: &[usize]) -> Vec<Group> {
    let mut groups = Vec::new();
    if all.writes_states() {
        return groups;
    }
    let mut open: Option<Group> = None;
    for (at, &task) in order.iter().enumerate() {
        let images = images_of(all, &all.tasks[task]);
        open = match (open, images) {
            (Some(group), Some(images)) if group.images == images => {
                Some(Group { steps: group.steps.start..at + 1, images })
            }
            (group, images) => {
                groups.extend(group);
                images.map(|images| Group { steps: at..at + 1, images })
            }
        };
    }
    groups.extend(open);
    groups.retain(|group| group.steps.len() > 1);
    groups
}

/// The images that `task` treats one by one, or `None` if it cannot be part of a group.
fn images_of(all: &Tasks, task: &Task) -> Option<usize> {
    let walked = walked(&task.op)?;
    if let (Op::Reduce(reduce), Some((_, ty))) = (&task.op, task.operands.first())
        && ty.shape.rank() < reduce.axes.len() + 2
    {
        // the images' numbers are the vectors of that kernel
        return None;
    }
    let (_, result) = task.results.first()?;
    let images = *result.shape.0.first()?;
    let by_image = |shape: &Shape| shape.rank() > 1 && shape.0[0] == images;
    if task.operands.iter().enumerate().any(|(index, (_, ty))| !walked(index) && ty.bytes() > LARGEST_WEIGHT) {
        return None;
    }
    let known = |item: usize| match all.items[item].origin {
        Origin::Constant | Origin::State(_) => true,
        Origin::Task(maker) => all.tasks[maker].prepare,
        Origin::Input => false,
    };
    let results = task.results.iter().all(|(item, ty)| by_image(&ty.shape) && all.items[*item].slot.is_none());
    let operands = task.operands.iter().enumerate().all(|(index, (item, ty))| {
        let walks = walked(index) && ty.shape.rank() == task_rank(task) && by_image(&ty.shape);
        walks || known(*item)
    });
    (results && operands && !task.prepare && images >= FEWEST_IMAGES).then_some(images)
}

/// Rank of what the task walks: that of its widest operand.
fn task_rank(task: &Task) -> usize {
    task.operands.iter().map(|(_, ty)| ty.shape.rank()).max().unwrap_or(0)
}

/// For an operation whose kernel can be cut into images: whether it may walk the operand of an index image by image.
fn walked(op: &Op) -> Option<fn(usize) -> bool> {
    match op {
        Op::Fused(fused) => fused_walked(fused),
        Op::MaxPool(_) | Op::AvgPool(_) => Some(|_| true),
        Op::Reduce(reduce) => (!reduce.axes.contains(&0)).then_some(|_| true),
        Op::Input(_)
        | Op::Parameter(..)
        | Op::Buffer(..)
        | Op::Constant(_)
        | Op::Random(_)
        | Op::Unary(_)
        | Op::Binary(_)
        | Op::Select
        | Op::Cast(_)
        | Op::Reshape(_)
        | Op::Transpose(_)
        | Op::Broadcast(_)
        | Op::Pad(_)
        | Op::Slice(_)
        | Op::Concat(_)
        | Op::OneHot(_)
        | Op::Gather
        | Op::ScatterAdd(_)
        | Op::Softmax(_)
        | Op::LogSoftmax(_)
        | Op::MatMul(_)
        | Op::Conv2d(_)
        | Op::Conv2dGradInput(..)
        | Op::Conv2dGradWeight(..)
        | Op::MaxPoolIndex(_)
        | Op::MaxPoolGrad(..)
        | Op::AvgPoolGrad(..)
        | Op::BatchNorm(_)
        | Op::BatchNormEval(_)
        | Op::BatchNormGrad
        | Op::Coefficients(_)
        | Op::GradCoefficients(_) => None,
    }
}

fn fused_walked(fused: &Fused) -> Option<fn(usize) -> bool> {
    let plain = !fused.source.has_sums() && !fused.result.has_sums();
    match &fused.anchor {
        // operand 0 is the weight
        Anchor::Conv2d { .. } => plain.then_some(|index| index > 0),
        Anchor::Map(shape) => (plain && shape.rank() > 2).then_some(|_| true),
        Anchor::Maps { .. } | Anchor::ConvBackward { .. } => None,
    }
}
