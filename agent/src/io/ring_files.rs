//! The thread that reads files through a ring of its own, and ends when nothing has been read for a while.
//!
//! The kernel gives whatever a ring cannot do at once (`statx` always) to a worker that belongs to the thread, wakes every
//! five seconds from then on, and is never dismissed while it is the last one (kernel: `io_uring/io-wq.c`, `io_wq_worker`). On
//! the reactor's own thread that would be for good; here worker and ring end with the thread, and an idle daemon sleeps.

use super::file_io::read_ring;
use std::{cell::RefCell, io, path::PathBuf, thread, time::Duration};
use tokio::{
    sync::{mpsc, oneshot},
    task::JoinSet,
    time::timeout,
};

/// The name of the thread.
const NAME: &str = "vfiod-files";
/// How long the thread waits for another file. Below the five seconds of the kernel's worker.
const PATIENCE: Duration = Duration::from_secs(1);

/// One file to be read.
struct Order {
    path: PathBuf,
    limit: usize,
    content: oneshot::Sender<io::Result<Vec<u8>>>,
}

thread_local! {
    /// Leads to the thread that reads for this one: it was started by this one, and may read what this one may.
    static FILES: RefCell<Option<mpsc::UnboundedSender<Order>>> = const { RefCell::new(None) };
}

/// Reads a file through the thread's ring.
pub(super) async fn read(path: PathBuf, limit: usize) -> io::Result<Vec<u8>> {
    let (content, read) = oneshot::channel();
    send(Order { path, limit, content })?;
    read.await.map_err(|_| io::Error::other("the thread that reads files has ended unexpectedly"))?
}

/// Gives the order to the thread, which is started where there is none.
fn send(mut order: Order) -> io::Result<()> {
    if let Some(files) = FILES.with_borrow(Clone::clone) {
        match files.send(order) {
            Ok(()) => return Ok(()),
            // It has ended, or takes no more orders.
            Err(mpsc::error::SendError(back)) => order = back,
        }
    }
    let (orders, taken) = mpsc::unbounded_channel();
    let _ = orders.send(order);
    thread::Builder::new().name(NAME.to_owned()).spawn(move || work(taken))?;
    FILES.set(Some(orders));
    Ok(())
}

fn work(mut orders: mpsc::UnboundedReceiver<Order>) {
    match tokio_uring::Runtime::new(&tokio_uring::builder()) {
        Ok(runtime) => runtime.block_on(serve(&mut orders)),
        Err(error) => {
            orders.close();
            while let Ok(order) = orders.try_recv() {
                let same = error.raw_os_error().map_or_else(|| error.kind().into(), io::Error::from_raw_os_error);
                let _ = order.content.send(Err(same));
            }
        }
    }
}

/// Reads what is ordered, several files at a time, until nothing has been ordered for a while.
async fn serve(orders: &mut mpsc::UnboundedReceiver<Order>) {
    let mut reads = JoinSet::new();
    while let Ok(Some(order)) = timeout(PATIENCE, orders.recv()).await {
        while reads.try_join_next().is_some() {}
        reads.spawn_local(order.carry_out());
    }
    orders.close();
    // Ordered in the last moment; the next order finds the way closed, and starts another thread.
    while let Some(order) = orders.recv().await {
        reads.spawn_local(order.carry_out());
    }
    while reads.join_next().await.is_some() {}
}

impl Order {
    async fn carry_out(self) {
        let content = read_ring(&self.path, self.limit).await;
        let _ = self.content.send(content);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::{fs, path::Path};

    async fn text(path: &Path) -> String {
        String::from_utf8(read(path.to_owned(), 1 << 20).await.unwrap()).unwrap()
    }

    fn threads() -> usize {
        let names = fs::read_dir("/proc/self/task").unwrap().filter_map(Result::ok);
        names.filter(|task| fs::read_to_string(task.path().join("comm")).is_ok_and(|name| name.trim() == NAME)).count()
    }

    #[tokio::test]
    async fn the_thread_ends_when_nothing_is_read_and_comes_back_for_the_next_file() {
        let folder = tempfile::tempdir().unwrap();
        let paths: Vec<PathBuf> = (0..100).map(|number| folder.path().join(number.to_string())).collect();
        for path in &paths {
            fs::write(path, path.display().to_string()).unwrap();
        }
        for _ in 0..2 {
            let all = futures_util::future::join_all(paths.iter().map(|path| text(path))).await;
            assert!(all.iter().zip(&paths).all(|(text, path)| *text == path.display().to_string()));
            assert!(threads() >= 1);
            while threads() > 0 {
                tokio::time::sleep(PATIENCE / 10).await;
            }
        }
    }
}
