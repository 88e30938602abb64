//! Which core of this machine something runs on.
//!
//! Where two processes talk over loopback from two cores, whoever sends wakes the other's core, and on a virtual
//! machine a sleeping core is woken by the hypervisor: microseconds that the kernel charges to the sender. No such
//! neighbour stands beside a deployed function, and how often a core sleeps depends on what else the machine does. On
//! one core there is nobody to wake, and what is charged is the function's own work.

use anyhow::{Context as _, ensure};
use core_affinity::CoreId;

/// Two cores; the same one twice where the machine has no second.
#[derive(Clone, Copy)]
pub(crate) struct Cores {
    first: CoreId,
    second: CoreId,
}

impl Cores {
    fn find() -> anyhow::Result<Self> {
        let cores = core_affinity::get_core_ids().context("the cores of this machine are not known")?;
        let first = *cores.first().context("no core to run on")?;
        Ok(Self { first, second: *cores.get(1).unwrap_or(&first) })
    }

    /// Runs `work` on the first core, with every task, thread and process it starts.
    pub(crate) fn run_on_first<T: Send>(work: impl AsyncFnOnce(Self) -> anyhow::Result<T> + Send) -> anyhow::Result<T> {
        let cores = Self::find()?;
        std::thread::scope(|scope| {
            let worker = scope.spawn(|| {
                pin_thread(cores.first)?;
                tokio::runtime::Builder::new_current_thread().enable_all().build()?.block_on(work(cores))
            });
            worker.join().map_err(|_| anyhow::anyhow!("it panicked"))?
        })
    }

    /// Awaits `start` on the second core: a process it starts stays there.
    pub(crate) async fn start_on_second<T>(self, start: impl Future<Output = T>) -> anyhow::Result<T> {
        pin_thread(self.second)?;
        let started = start.await;
        pin_thread(self.first)?;
        Ok(started)
    }
}

/// Keeps this thread, and what it will start, on `core`.
fn pin_thread(core: CoreId) -> anyhow::Result<()> {
    ensure!(core_affinity::set_for_current(core), "this thread cannot be kept on one core");
    Ok(())
}
