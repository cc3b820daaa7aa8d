//! What the kernel writes, for the tests.

pub(super) const KEEPER: &str = "\
Name:\tknockd
Umask:\t0022
State:\tS (sleeping)
Tgid:\t812
Ngid:\t0
Pid:\t812
PPid:\t1
TracerPid:\t0
Uid:\t0\t0\t0\t0
Gid:\t0\t0\t0\t0
FDSize:\t64
Groups:\t0 
Kthread:\t0
VmPeak:\t    3060 kB
Threads:\t3
SigQ:\t0/96364
SigCgt:\t0000000000000440
CapInh:\t0000000000000000
CapPrm:\t000001ffffffffff
CapEff:\t000001ffffffffff
CapBnd:\t000001ffffffffff
CapAmb:\t0000000000000000
NoNewPrivs:\t0
Seccomp:\t0
Seccomp_filters:\t0
Speculation_Store_Bypass:\tvulnerable
";

pub(super) const LISTENER: &str = "\
Name:\tknockd-listener
Umask:\t0022
State:\tS (sleeping)
Tgid:\t813
Ngid:\t0
Pid:\t813
PPid:\t812
TracerPid:\t0
Uid:\t998\t998\t998\t998
Gid:\t997\t997\t997\t997
FDSize:\t64
Groups:\t 
Kthread:\t0
VmPeak:\t    7132 kB
Threads:\t1
SigQ:\t0/96364
SigCgt:\t0000000000000440
CapInh:\t0000000000000000
CapPrm:\t0000000000000000
CapEff:\t0000000000000000
CapBnd:\t0000000000000000
CapAmb:\t0000000000000000
NoNewPrivs:\t1
Seccomp:\t2
Seccomp_filters:\t1
Speculation_Store_Bypass:\tthread force mitigated
";

pub(super) const LIMITS: &str = "\
Limit                     Soft Limit           Hard Limit           Units     
Max cpu time              unlimited            unlimited            seconds   
Max file size             0                    0                    bytes     
Max data size             unlimited            unlimited            bytes     
Max stack size            8388608              unlimited            bytes     
Max core file size        0                    0                    bytes     
Max resident set          unlimited            unlimited            bytes     
Max processes             0                    0                    processes 
Max open files            16                   16                   files     
Max locked memory         8388608              8388608              bytes     
Max address space         unlimited            unlimited            bytes     
Max file locks            unlimited            unlimited            locks     
Max pending signals       96364                96364                signals   
Max realtime timeout      unlimited            unlimited            us        
";

/// Of a daemon of systemd's.
pub(super) const USUAL_LIMITS: &str = "\
Max file size             unlimited            unlimited            bytes     
Max core file size        0                    unlimited            bytes     
Max processes             31191                31191                processes 
Max open files            1024                 524288               files     
Max address space         unlimited            unlimited            bytes     
";
