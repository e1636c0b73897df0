internal import CKernels

/// The process's heap.
public enum Heap {
    /// Lets all threads share two heaps; call it before the first thread starts.
    ///
    /// glibc makes up to eight a core, each of which keeps what was freed in it: a server held 48 MB after a
    /// job with them and 43 MB with two.
    public static func limitArenas() { ck_limit_arenas(2) }

    /// Gives what was freed back to the system: glibc keeps it for later otherwise.
    public static func trim() { ck_return_memory() }

    /// Gives back all that an idle process need not hold: freed memory, and pages of code that has run, which
    /// are mapped again when it does.
    public static func settle() {
        ck_return_memory()
        ck_forget_code()
    }
}
