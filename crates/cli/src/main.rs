//! temporary
use innerloop_engine::Dtype;
use innerloop_meta::Strategy;
fn main() {
    let file = std::env::args().nth(1).unwrap();
    let dtype =
        if std::env::args().nth(2).as_deref() == Some("f32") { Dtype::F32 } else { Dtype::F64 };
    match innerloop_lab::verify(
        std::path::Path::new(&file),
        dtype,
        &[Strategy::Unrolled, Strategy::Adjoint],
        None,
    ) {
        Ok(all) => {
            for v in all {
                println!("{} {} {:?} {:?} {}", file, v.strategy, v.flips, v.worst(), v.passed());
            }
        }
        Err(e) => println!("{e}"),
    }
}
