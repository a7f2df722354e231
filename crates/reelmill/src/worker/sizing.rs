//! Whether the pieces of a film have the size that was asked for.

use crate::mutant;
use crate::task_source::FinishOrder;
use reelmill_core::check::Check;
use reelmill_core::error::Failure;
use reelmill_core::rate::Judgement;
use reelmill_core::task::TaskResult;
use std::path::Path;

/// What is known before the file is put together: a bit rate is that of the pictures
/// alone. Yields what to report when another pass is needed.
///
/// # Errors
/// When a piece is not of this pass.
pub(super) fn before(order: &FinishOrder) -> Result<Option<TaskResult>, Failure> {
    if order.plan.limits_file() { Ok(None) } else { judge(order, 0) }
}

/// The same of the file `out`, which counts as a whole; where another pass is needed it
/// is removed.
///
/// # Errors
/// When it cannot have the size at all, or a piece is not of this pass.
pub(super) async fn stitched(
    order: &FinishOrder,
    out: &Path,
) -> Result<Option<TaskResult>, Failure> {
    if mutant::leaves_out("size-cap") {
        return Ok(None);
    }
    let pictures = order.pieces().map_or(0, |it| it.made.iter().map(|piece| piece.bytes).sum());
    let missed = judge(order, length(out).await?.saturating_sub(pictures))?;
    if missed.is_some() {
        let removed = tokio::fs::remove_file(out).await;
        removed.map_err(|e| Failure::io(format!("remove {}", out.display()), &e))?;
    }
    Ok(missed)
}

/// What is told of the finished file `out`.
///
/// # Errors
/// When it cannot be looked at.
pub(super) async fn check(order: &FinishOrder, out: &Path) -> Result<Option<Check>, Failure> {
    let Some(pieces) = order.pieces().filter(|_| order.plan.video.rate.is_some()) else {
        return Ok(None);
    };
    let check = order.plan.size_check(&pieces, length(out).await?);
    Ok(check.filter(|check| check.passed || !mutant::leaves_out("size-cap")))
}

fn judge(order: &FinishOrder, other: u64) -> Result<Option<TaskResult>, Failure> {
    if order.plan.video.rate.is_none() {
        return Ok(None);
    }
    let unknown = || "not every piece says how it was made".to_owned();
    let judged = order.pieces().ok_or_else(unknown);
    let judged = judged.and_then(|pieces| order.plan.judge(&pieces, other));
    match judged {
        Err(why) => Err(Failure::permanent(format!("the pieces are not of one pass: {why}"))
            .advise("submit it again; please report this")),
        Ok(Some(Judgement::Again(_))) => Ok(Some(TaskResult::Missed { other })),
        Ok(Some(Judgement::Hopeless(failure))) => Err(failure),
        Ok(None | Some(Judgement::Enough)) => Ok(None),
    }
}

async fn length(out: &Path) -> Result<u64, Failure> {
    let about = tokio::fs::metadata(out).await;
    Ok(about.map_err(|e| Failure::io(format!("look at {}", out.display()), &e))?.len())
}
