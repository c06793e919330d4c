use innerloop_engine::*;
use std::time::Instant;
fn main() {
    for (n,h,c,o) in [(5,28,1,64),(5,14,64,64),(5,7,64,64),(5,3,64,64),(75,14,64,64),(75,7,64,64),(75,28,1,64),(5,84,3,32),(5,42,32,32),(75,42,32,32),(75,21,32,32)] {
        let g = Graph::new();
        let x = g.input("x", &[n,h,h,c]); let w = g.input("w", &[3,3,c,o]);
        let win = Window::square(3,1,1);
        let y = x.conv(w, win);
        let gr = g.input("g", &[n,h,h,o]);
        let d = vjp(&[y], &[gr], &[x,w]);
        let flops = 2.0*(n*h*h*c*o*9) as f64;
        print!("{n}x{h}x{h}x{c}->{o}: ");
        for (name, out) in [("fwd", y), ("igrad", d[0]), ("wgrad", d[1])] {
            let p = Program::compile(&g, &[out]);
            let mut ws = p.workspace(Dtype::F32);
            ws.set(0,&Tensor::full(Dtype::F32,&[n,h,h,c],0.5)); ws.set(1,&Tensor::full(Dtype::F32,&[3,3,c,o],0.1)); ws.set(2,&Tensor::full(Dtype::F32,&[n,h,h,o],0.1));
            p.run(&mut ws);
            let mut best = f64::MAX;
            let t0 = Instant::now();
            while t0.elapsed().as_secs_f64() < 0.3 {
                let t = Instant::now(); p.run(&mut ws); best = best.min(t.elapsed().as_secs_f64());
            }
            print!("{name} {:.1} GF/s  ", flops/best/1e9);
        }
        println!();
    }
}
