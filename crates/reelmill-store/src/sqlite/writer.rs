//! The one writer: a thread of its own that runs operations one after the other
//! and flushes them to disk together.
//!
//! Operations that wait when the thread gets to them form a group. Each runs in a
//! savepoint of the group's transaction, so one that fails is undone alone. Nobody
//! is answered before the group is committed: an acknowledged operation is on disk,
//! and a busy farm pays for one flush where it would have paid for many.

use super::db::Db;
use super::guard::Guard;
use super::wal::Wal;
use crate::{ApplyError, StoreError};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;
use std::thread::JoinHandle;
use tokio::sync::{mpsc, oneshot};

/// Most operations that wait for the thread; who comes then waits for his place.
const QUEUE: usize = 1024;

/// Most operations of a group: those behind the flush's cost do not count any more,
/// and the first one waits for the last.
const GROUP: usize = 128;

/// What an operation can fail with: the store's own failure, among others.
pub(super) trait Cause: From<StoreError> {
    /// The store's failure, if it is one.
    fn cause(&self) -> Option<StoreError>;
}

impl Cause for StoreError {
    fn cause(&self) -> Option<StoreError> {
        Some(self.clone())
    }
}

impl Cause for ApplyError {
    fn cause(&self) -> Option<StoreError> {
        match self {
            Self::Store(error) => Some(error.clone()),
            Self::Refused(_) | Self::NoSuchTask => None,
        }
    }
}

/// Where all writes go. When the last clone is gone, so is the connection.
#[derive(Debug, Clone)]
pub(super) struct Writer {
    thread: Arc<Thread>,
}

#[derive(Debug)]
struct Thread {
    orders: Option<mpsc::Sender<Order>>,
    handle: Option<JoinHandle<()>>,
}

impl Drop for Thread {
    fn drop(&mut self) {
        self.orders = None;
        if let Some(handle) = self.handle.take()
            && handle.join().is_err()
        {
            tracing::error!("the thread that writes to the database has panicked");
        }
    }
}

enum Order {
    Work(Box<dyn Work>),
    Close(oneshot::Sender<Result<(), StoreError>>),
}

/// An operation as the thread sees it.
trait Work: Send {
    /// Runs it; says whether what it wrote is to stay.
    fn run(&mut self, db: &Db) -> Ran;

    /// Tells the caller how it went, now that its group is on disk, or has failed.
    fn answer(self: Box<Self>, group: Result<(), StoreError>);
}

/// How an operation ended.
enum Ran {
    Well,
    /// It failed, with what the store said, if that was the cause.
    Failed(Option<StoreError>),
}

struct Operation<T, E, F> {
    operation: Option<F>,
    result: Option<Result<T, E>>,
    caller: oneshot::Sender<Result<T, E>>,
}

impl<T, E, F> Work for Operation<T, E, F>
where
    T: Send,
    E: Cause + Send,
    F: FnOnce(&Db) -> Result<T, E> + Send,
{
    fn run(&mut self, db: &Db) -> Ran {
        let Some(operation) = self.operation.take() else { return Ran::Failed(None) };
        let result = catch_unwind(AssertUnwindSafe(|| operation(db)));
        let result = result.unwrap_or_else(|_| Err(broken("it panicked").into()));
        let ran = match &result {
            Ok(_) => Ran::Well,
            Err(error) => Ran::Failed(error.cause()),
        };
        self.result = Some(result);
        ran
    }

    fn answer(self: Box<Self>, group: Result<(), StoreError>) {
        let result = self.result.unwrap_or_else(|| Err(broken("it was not run").into()));
        // Whoever stopped waiting does not want to know.
        let _ = self.caller.send(group.map_err(E::from).and(result));
    }
}

fn broken(why: &str) -> StoreError {
    StoreError::Io(format!("a write broke off: {why}"))
}

impl Writer {
    /// Starts the thread. `guard` is let go after the connection.
    pub(super) fn start(db: Db, wal: Wal, guard: Guard) -> Result<Self, StoreError> {
        let (sender, orders) = mpsc::channel(QUEUE);
        let desk = Desk { db, wal, orders, _guard: guard };
        let thread = std::thread::Builder::new().name("reelmill-rows".into());
        let handle = thread.spawn(move || desk.serve());
        let handle = handle.map_err(|error| broken(&format!("no thread: {error}")))?;
        let thread = Thread { orders: Some(sender), handle: Some(handle) };
        Ok(Self { thread: Arc::new(thread) })
    }

    /// Runs `operation` and makes it durable; undoes it when it fails. Once it has
    /// been queued it goes on to its end even when the caller stops waiting.
    pub(super) async fn run<T, E, F>(&self, operation: F) -> Result<T, E>
    where
        T: Send + 'static,
        E: Cause + Send + 'static,
        F: FnOnce(&Db) -> Result<T, E> + Send + 'static,
    {
        let (caller, answer) = oneshot::channel();
        let operation = Operation { operation: Some(operation), result: None, caller };
        self.order(Order::Work(Box::new(operation))).await?;
        answer.await.map_err(|_| broken("the database is closed"))?
    }

    /// Finishes what is under way and closes the database; nothing but the database
    /// itself is left beside it.
    pub(super) async fn close(&self) -> Result<(), StoreError> {
        let (caller, answer) = oneshot::channel();
        self.order(Order::Close(caller)).await?;
        answer.await.map_err(|_| broken("the database is closed"))?
    }

    async fn order(&self, order: Order) -> Result<(), StoreError> {
        let closed = || broken("the database is closed");
        let orders = self.thread.orders.as_ref().ok_or_else(closed)?;
        orders.send(order).await.map_err(|_| closed())
    }
}

/// What the thread has.
struct Desk {
    db: Db,
    wal: Wal,
    orders: mpsc::Receiver<Order>,
    /// Let go only after the connection.
    _guard: Guard,
}

impl Desk {
    fn serve(mut self) {
        Wal::watch(&self.db);
        let mut next = self.orders.blocking_recv();
        while let Some(order) = next {
            let behind = match order {
                Order::Work(first) => self.group(first),
                Order::Close(caller) => {
                    let closed = self.wal.close(&self.db);
                    self.orders.close();
                    let Self { db, _guard, .. } = self;
                    drop(db);
                    drop(_guard);
                    let _ = caller.send(closed);
                    return;
                }
            };
            next = behind.or_else(|| self.orders.blocking_recv());
        }
    }

    /// Runs `first` and those that wait behind it, flushes them together and answers
    /// them; yields an order that was met and belongs to no group.
    fn group(&mut self, first: Box<dyn Work>) -> Option<Order> {
        let mut members = vec![first];
        let mut other = None;
        let mut state = self.db.step("BEGIN IMMEDIATE");
        let mut at = 0;
        while let (Ok(()), Some(work)) = (&state, members.get_mut(at)) {
            state = run_one(&self.db, work.as_mut());
            at += 1;
            if at == members.len() && at < GROUP && state.is_ok() {
                match self.orders.try_recv() {
                    Ok(Order::Work(work)) => members.push(work),
                    Ok(close) => other = Some(close),
                    Err(_) => {}
                }
            }
        }
        if leaves_out("answer-after-commit") {
            members.drain(..).for_each(|member| member.answer(Ok(())));
        }
        let done = state.and_then(|()| self.db.step("COMMIT"));
        if done.is_err()
            && !self.db.0.is_autocommit()
            && let Err(error) = self.db.step("ROLLBACK")
        {
            tracing::error!(%error, "cannot roll back what failed");
        }
        for member in members {
            member.answer(done.clone());
        }
        if done.is_ok() {
            self.wal.grew(&self.db);
        }
        other
    }
}

/// Runs an operation in a savepoint of the open transaction. Fails when all of the
/// transaction has.
fn run_one(db: &Db, work: &mut dyn Work) -> Result<(), StoreError> {
    db.step("SAVEPOINT one")?;
    let ran = work.run(db);
    // After some errors (no space, for one) SQLite has rolled everything back.
    if db.0.is_autocommit() {
        let cause = if let Ran::Failed(cause) = ran { cause } else { None };
        return Err(cause.unwrap_or_else(|| broken("it was rolled back")));
    }
    match ran {
        Ran::Failed(cause) if leaves_out("failures-alone") => {
            return Err(cause.unwrap_or_else(|| broken("another one failed")));
        }
        Ran::Failed(_) if !leaves_out("undo") => db.step("ROLLBACK TO one")?,
        Ran::Failed(_) | Ran::Well => {}
    }
    db.step("RELEASE one")
}

/// Whether a test has this left out, to show that it would be noticed.
#[cfg(not(test))]
const fn leaves_out(_protection: &str) -> bool {
    false
}

#[cfg(test)]
use tests::leaves_out;

#[cfg(test)]
mod tests;
