//! Copies of weights in the order in which tiles read them, in memory of the step's own.

use super::half::Element;
use super::lower::{ArgumentPlace, Call, Kernel, KernelArgument, Lowered};
use super::nest::{Nest, NestStep};
use super::transpose::Transposition;
use super::winograd_weight::WeightTransform;
use crate::plan::ALIGNMENT;
use crate::types::DType;

/// How a weight is put into panels.
pub(super) enum Pack {
    Nest(Nest),
    Transposed(Transposition),
}

/// A copying nest that rounds what it copies if `element` says so.
pub(super) fn rounded(mut nest: Nest, element: Element) -> Pack {
    if element == Element::Rounded {
        nest.steps.push(NestStep::Cast(DType::Bf16, nest.outputs[0].0));
        nest.outputs[0].0 = nest.steps.len() - 1;
    }
    Pack::Nest(nest)
}

impl Lowered {
    /// Puts a weight, argument `from` or its copy in panels, into the step's own memory in Winograd's domain, and that behind
    /// the arguments; returns where.
    pub(super) fn transform(
        &mut self,
        kernel: WeightTransform,
        arguments: &mut Vec<KernelArgument>,
        from: usize,
    ) -> usize {
        let (chunks, floats) = (kernel.chunks, kernel.floats());
        self.packing(Kernel::WeightTransform(kernel), chunks, arguments, from, floats)
    }
    fn packing(
        &mut self,
        kernel: Kernel,
        chunks: usize,
        arguments: &mut Vec<KernelArgument>,
        from: usize,
        floats: usize,
    ) -> usize {
        let to = self.room(floats * 4, true);
        let call_from = KernelArgument { write: false, ..arguments[from].clone() };
        arguments.push(KernelArgument { write: false, ..to.clone() });
        self.packs.push(Call { kernel, arguments: vec![call_from, to], chunks, flops: 0, kind: "pack" });
        arguments.len() - 1
    }
    /// The weight in pairs of bf16, each nest packing a part of it into `bytes` bytes.
    pub(super) fn pack_pairs(&mut self, nests: Vec<Nest>, arguments: &mut Vec<KernelArgument>, bytes: i64) -> usize {
        let to = self.room(bytes as usize, false);
        for nest in nests {
            let (chunks, arguments) = (nest.chunks, vec![arguments[0].clone(), to.clone()]);
            self.packs.push(Call { kernel: Kernel::Nest(nest), arguments, chunks, flops: 0, kind: "pack" });
        }
        arguments.push(KernelArgument { write: false, ..to });
        arguments.len() - 1
    }
    /// Memory of the step's own, to be written.
    fn room(&mut self, bytes: usize, float: bool) -> KernelArgument {
        let at = self.step_bytes.next_multiple_of(ALIGNMENT);
        self.step_bytes = at + bytes;
        KernelArgument { place: ArgumentPlace::Step(at), bytes, write: true, float }
    }
    /// The argument of a convolution's weight: operand 0, or its copy in panels.
    pub(super) fn packed_weight(
        &mut self,
        pack: Option<Pack>,
        arguments: &mut Vec<KernelArgument>,
        floats: usize,
    ) -> usize {
        let Some(pack) = pack else { return 0 };
        let (kernel, chunks) = match pack {
            Pack::Nest(nest) => {
                let chunks = nest.chunks;
                (Kernel::Nest(nest), chunks)
            }
            Pack::Transposed(kernel) => {
                let chunks = kernel.chunks;
                (Kernel::Transpose(kernel), chunks)
            }
        };
        self.packing(kernel, chunks, arguments, 0, floats)
    }
}
