//! Many graphs as native code in one C program, each run by every variant that this CPU has.

use std::fmt::Write;
use std::path::Path;

use outrigger::export::{ObjectOptions, object};
use outrigger::types::TensorType;
use outrigger::{DType, Error, Graph, Store, Tensor};

use super::{STRICT, available, run};

/// An exported graph.
pub struct Piece {
    name: String,
    inputs: Vec<Tensor>,
    outputs: Vec<TensorType>,
    workspace: usize,
}

impl Piece {
    /// Exports `graph` into `directory`; `input` has the value of each input.
    pub fn export(
        directory: &Path,
        graph: &Graph,
        store: &Store,
        options: &ObjectOptions,
        input: impl Fn(&str) -> Tensor,
    ) -> Result<Piece, Error> {
        let library = object(graph, store, options)?;
        library.write(directory)?;
        let outputs = graph.outputs().iter().map(|&(_, value)| graph.value_type(value).unwrap().clone());
        Ok(Piece {
            name: options.name.clone(),
            inputs: graph.inputs().map(|id| input(&graph.get(id).unwrap().name)).collect(),
            outputs: outputs.collect(),
            workspace: library.workspace_bytes(),
        })
    }

    /// A C function that reads the inputs, runs every variant twice (nothing may be left over from the first run), and
    /// writes the outputs.
    fn function(&self) -> String {
        let mut text = format!("static int run_{}(FILE *from, FILE *to) {{\n    (void)from;\n", self.name);
        let (mut reads, mut writes, mut pointers) = (String::new(), String::new(), String::new());
        let inputs = self.inputs.iter().map(|tensor| ("in", tensor.ty()));
        for (at, (kind, ty)) in inputs.chain(self.outputs.iter().map(|ty| ("out", ty.clone()))).enumerate() {
            let c = match ty.dtype {
                DType::F32 => "float",
                DType::I32 => "int32_t",
                DType::U8 => "uint8_t",
                DType::Bf16 => panic!("C has no bf16"),
            };
            writeln!(text, "    static {c} {kind}{at}[{}];", ty.shape.elements()).unwrap();
            write!(pointers, "{kind}{at}, ").unwrap();
            match kind {
                "in" => {
                    writeln!(reads, "    if (fread({kind}{at}, sizeof {kind}{at}, 1, from) != 1) return 2;").unwrap()
                }
                _ => writeln!(writes, "    fwrite({kind}{at}, sizeof {kind}{at}, 1, to);").unwrap(),
            }
        }
        text += &reads;
        for isa in available() {
            let call = format!("{}_run_{isa}({pointers}workspace)", self.name);
            write!(text, "    if ({call} || {call}) return 3;\n{writes}").unwrap();
        }
        text + "    return 0;\n}\n"
    }
}

/// Compiles and runs a program of all pieces: for each, for each variant, the outputs.
pub fn run_all(directory: &Path, pieces: &[Piece]) -> Vec<Vec<Vec<Tensor>>> {
    let mut program = "#include <stdio.h>\n".to_string();
    for piece in pieces {
        writeln!(program, "#include \"{}.h\"", piece.name).unwrap();
    }
    let workspace = pieces.iter().map(|piece| piece.workspace).max().unwrap_or(0).max(1);
    writeln!(program, "__attribute__((aligned(64))) static unsigned char workspace[{workspace}];").unwrap();
    program.extend(pieces.iter().map(Piece::function));
    program += "int main(void) {\n    FILE *from = fopen(\"inputs\", \"rb\"), *to = fopen(\"outputs\", \"wb\");\n";
    program += "    if (!from || !to) return 4;\n";
    for Piece { name, .. } in pieces {
        writeln!(program, "    if (run_{name}(from, to)) return fprintf(stderr, \"{name}\\n\"), 5;").unwrap();
    }
    program += "    fclose(from);\n    return fclose(to);\n}\n";
    std::fs::write(directory.join("main.c"), program).unwrap();
    let inputs: Vec<u8> = pieces.iter().flat_map(|piece| &piece.inputs).flat_map(Tensor::to_bytes).collect();
    std::fs::write(directory.join("inputs"), inputs).unwrap();
    let libraries: Vec<String> = pieces.iter().map(|piece| format!("{}.a", piece.name)).collect();
    let args = ["-std=c99", "main.c", "-o", "main"].into_iter().chain(libraries.iter().map(String::as_str));
    run(directory, "gcc", &STRICT.into_iter().chain(args).collect::<Vec<_>>());
    run(directory, "./main", &[]);

    let outputs = std::fs::read(directory.join("outputs")).unwrap();
    let mut rest = outputs.as_slice();
    let mut take = |ty: &TensorType| {
        let (these, others) = rest.split_at(ty.bytes());
        rest = others;
        Tensor::from_bytes(ty, these).unwrap()
    };
    let mut of_piece = |piece: &Piece| {
        let mut variant = || piece.outputs.iter().map(&mut take).collect();
        available().iter().map(|_| variant()).collect()
    };
    let all = pieces.iter().map(&mut of_piece).collect();
    assert!(rest.is_empty(), "{} bytes too many", rest.len());
    all
}
