//! System calls that no tool of ours needs and that attacks like best.

use seccompiler::{
    BpfProgram, SeccompAction, SeccompCmpArgLen, SeccompCmpOp, SeccompCondition, SeccompFilter,
    SeccompRule, TargetArch,
};
use std::collections::BTreeMap;

/// Refused with "operation not permitted". `socket` is the one that keeps tools
/// off every network; pairs of sockets, which lead nowhere, are allowed.
const REFUSED: &[i64] = &[
    libc::SYS_socket,
    libc::SYS_ptrace,
    libc::SYS_process_vm_readv,
    libc::SYS_process_vm_writev,
    libc::SYS_pidfd_getfd,
    libc::SYS_kcmp,
    libc::SYS_bpf,
    libc::SYS_perf_event_open,
    libc::SYS_userfaultfd,
    libc::SYS_io_uring_setup,
    libc::SYS_io_uring_enter,
    libc::SYS_io_uring_register,
    libc::SYS_keyctl,
    libc::SYS_add_key,
    libc::SYS_request_key,
    libc::SYS_unshare,
    libc::SYS_setns,
    libc::SYS_mount,
    libc::SYS_umount2,
    libc::SYS_pivot_root,
    libc::SYS_chroot,
    libc::SYS_move_mount,
    libc::SYS_open_tree,
    libc::SYS_fsopen,
    libc::SYS_fsconfig,
    libc::SYS_fsmount,
    libc::SYS_fspick,
    libc::SYS_mount_setattr,
    libc::SYS_open_by_handle_at,
    libc::SYS_fanotify_init,
    libc::SYS_quotactl,
    libc::SYS_acct,
    libc::SYS_swapon,
    libc::SYS_swapoff,
    libc::SYS_reboot,
    libc::SYS_kexec_load,
    libc::SYS_init_module,
    libc::SYS_finit_module,
    libc::SYS_delete_module,
    libc::SYS_settimeofday,
    libc::SYS_clock_settime,
    libc::SYS_sethostname,
    libc::SYS_setdomainname,
    libc::SYS_syslog,
];

/// Flags of `clone` that make namespaces: NEWNS, NEWCGROUP, NEWUTS, NEWIPC,
/// NEWUSER, NEWPID, NEWNET.
const NAMESPACES: u64 = 0x0002_0000 | 0x0200_0000 | 0x7c00_0000;

/// The second number of each call on x86-64, by which it could be made past a
/// list of first numbers.
const X32: i64 = 0x4000_0000;

/// The filters, to be applied in order.
pub(super) type Filters = Vec<BpfProgram>;

/// The filters for this processor; the reason, where there are none.
pub(super) fn filters() -> Result<Filters, String> {
    let say = |error: &dyn std::fmt::Display| format!("seccomp: {error}");
    let arch: TargetArch = std::env::consts::ARCH
        .try_into()
        .map_err(|_| format!("seccomp: no filter for {}", std::env::consts::ARCH))?;
    let mut refused: BTreeMap<i64, Vec<SeccompRule>> = BTreeMap::new();
    for call in REFUSED {
        add(&mut refused, *call, &[]);
    }
    for flag in (0..64).map(|bit| 1_u64 << bit).filter(|flag| NAMESPACES & flag != 0) {
        let has = SeccompCmpOp::MaskedEq(flag);
        let rule = SeccompCondition::new(0, SeccompCmpArgLen::Qword, has, flag)
            .and_then(|condition| SeccompRule::new(vec![condition]))
            .map_err(|error| say(&error))?;
        add(&mut refused, libc::SYS_clone, &[rule]);
    }
    // Its flags lie in memory, where no filter can look; the C library falls
    // back to `clone` when it seems not to exist.
    let mut absent = BTreeMap::new();
    add(&mut absent, libc::SYS_clone3, &[]);
    [(refused, libc::EPERM), (absent, libc::ENOSYS)]
        .into_iter()
        .map(|(rules, errno)| {
            let errno = SeccompAction::Errno(errno.unsigned_abs());
            let filter = SeccompFilter::new(rules, SeccompAction::Allow, errno, arch)
                .map_err(|error| say(&error))?;
            BpfProgram::try_from(filter).map_err(|error| say(&error))
        })
        .collect()
}

fn add(rules: &mut BTreeMap<i64, Vec<SeccompRule>>, call: i64, when: &[SeccompRule]) {
    rules.entry(call).or_default().extend_from_slice(when);
    if cfg!(target_arch = "x86_64") {
        rules.entry(call | X32).or_default().extend_from_slice(when);
    }
}

/// Applies the filters to the calling thread and all that it will start.
pub(super) fn enter(filters: &Filters) -> std::io::Result<()> {
    for filter in filters {
        seccompiler::apply_filter(filter).map_err(std::io::Error::other)?;
    }
    Ok(())
}
