//! Work shared between the threads of the current rayon pool.
//!
//! A pool of one thread runs everything where it is called. How work is shared never shows in a
//! result: each value is computed by one task, in one order.

use rayon::prelude::*;

use crate::rows::DualMut;

/// Values below which handing work to another thread costs more than it saves.
const SERIAL: usize = 1 << 14;

/// Runs `work` for each index below `tasks`, in parallel if there is `enough` to do.
pub(crate) fn for_each(tasks: usize, enough: bool, work: impl Fn(usize) + Sync + Send) {
    if tasks > 1 && enough && rayon::current_num_threads() > 1 {
        (0..tasks).into_par_iter().for_each(work);
    } else {
        (0..tasks).for_each(work);
    }
}

/// Runs `work` on the index of each row of a value, the row, and the same row of its tangents; the
/// last row may be shorter.
pub(crate) fn for_each_row(
    x: &mut DualMut,
    width: usize,
    work: impl Fn(usize, &mut [f32], &mut [&mut [f32]]) + Sync + Send,
) {
    let length = x.primal.len();
    if length == 0 {
        return;
    }
    let rows = length.div_ceil(width);
    let threads = rayon::current_num_threads();
    let parts = if length < SERIAL { 1 } else { (4 * threads).min(rows) };
    if threads == 1 || parts == 1 {
        return serially(0, x.primal, &mut x.tangents, width, &work);
    }
    let rows = rows.div_ceil(parts);
    let part = rows * width;
    let mut tasks: Vec<(&mut [f32], Vec<&mut [f32]>)> =
        x.primal.chunks_mut(part).map(|primal| (primal, Vec::new())).collect();
    for tangent in &mut x.tangents {
        for (task, tangent) in tasks.iter_mut().zip(tangent.chunks_mut(part)) {
            task.1.push(tangent);
        }
    }
    tasks.into_par_iter().enumerate().for_each(|(index, (primal, mut tangents))| {
        serially(index * rows, primal, &mut tangents, width, &work);
    });
}

fn serially(
    first: usize,
    primal: &mut [f32],
    tangents: &mut [&mut [f32]],
    width: usize,
    work: &impl Fn(usize, &mut [f32], &mut [&mut [f32]]),
) {
    let mut rests: Vec<&mut [f32]> = tangents.iter_mut().map(|tangent| &mut **tangent).collect();
    let mut rows: Vec<&mut [f32]> = Vec::with_capacity(rests.len());
    for (index, row) in primal.chunks_mut(width).enumerate() {
        rows.clear();
        for rest in &mut rests {
            let (first, others) = std::mem::take(rest).split_at_mut(row.len());
            *rest = others;
            rows.push(first);
        }
        work(first + index, row, &mut rows);
    }
}
