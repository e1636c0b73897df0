import Foundation
import Host
import Testing

@Suite("The processor time of threads") struct ThreadGroupClockTests {
    @Test("counts from zero, survives threads that end and numbers that return")
    func countsFromZero() throws {
        let host = try FakeHost()
        try host.write("proc/self/task/11/comm", "worker-0\n")
        try host.write("proc/self/task/11/schedstat", "5000 1 2\n")
        try host.write("proc/self/task/12/comm", "pulse\n")
        try host.write("proc/self/task/12/schedstat", "900000 1 2\n")
        var clock = ThreadGroupClock(.named("worker-0"), host.paths)
        #expect(clock.nanoseconds() == 0)
        try host.write("proc/self/task/11/schedstat", "5500 1 2\n")
        try host.write("proc/self/task/13/comm", "worker-0\n")
        try host.write("proc/self/task/13/schedstat", "70 1 2\n")
        #expect(clock.nanoseconds() == 570)
        try FileManager.default.removeItem(at: host.folder.appending(path: "proc/self/task/13"))
        #expect(clock.nanoseconds() == 570)
        try host.write("proc/self/task/11/schedstat", "30 1 2\n")
        #expect(clock.nanoseconds() == 600)
    }

    @Test("falls back to ticks where the scheduler keeps no count")
    func fallsBackToTicks() throws {
        let host = try FakeHost()
        let stat: (Int) -> String = { "7 (odd ) name) R 1 1 1 0 -1 0 0 0 0 0 \($0) 20 0 0 20 0 1 0 9 9 9\n" }
        try host.write("proc/self/task/7/stat", stat(10))
        var clock = ThreadGroupClock(.identified([7]), host.paths)
        try host.write("proc/self/task/7/stat", stat(13))
        let ticksPerSecond = UInt64(sysconf(Int32(_SC_CLK_TCK)))
        #expect(clock.nanoseconds() == 3 * 1_000_000_000 / ticksPerSecond)
    }

    @Test("charges a thread with what its helper thread used, and nobody else's")
    func countsRealThreads() throws {
        let (name, proceed) = ("vintage-7", DispatchSemaphore(value: 0))
        // A thread can name itself for the kernel once `start` has returned.
        let isRecorded = DispatchSemaphore(value: 0)
        var named = ThreadGroupClock(.named(name))
        var nobody = ThreadGroupClock(.named("nobody"))
        let worker = Thread {
            isRecorded.wait()
            Thread.current.name = name
            let helper = Thread {
                Self.use(milliseconds: 50)
                proceed.wait()
            }
            helper.start()
            proceed.wait()
        }
        worker.start()
        isRecorded.signal()
        // The scheduler writes the time of a running thread down a little later.
        let deadline = Date(timeIntervalSinceNow: 30)
        while named.nanoseconds() < 50_000_000, Date() < deadline { sched_yield() }
        #expect(named.nanoseconds() >= 50_000_000)
        #expect(nobody.nanoseconds() == 0)
        proceed.signal()
        proceed.signal()
    }

    /// Keeps a core busy until the calling thread has used so much of it.
    private static func use(milliseconds: Int) {
        var time = timespec()
        while time.tv_sec * 1000 + time.tv_nsec / 1_000_000 <= milliseconds {
            _ = unsafe clock_gettime(CLOCK_THREAD_CPUTIME_ID, &time)
        }
    }

    @Test("as a share of a core is what was used over what passed")
    func metersUsage() throws {
        let host = try FakeHost()
        try host.write("proc/self/task/11/schedstat", "0 1 2\n")
        var meter = UsageMeter(ThreadGroupClock(.identified([11]), host.paths), now: 1_000)
        try host.write("proc/self/task/11/schedstat", "3000000000 1 2\n")
        #expect(meter.sample(now: 2_000_001_000) == 150)
        #expect(meter.processorSeconds == 3)
        #expect(meter.sample(now: 2_000_001_000) == 0)
    }

    @Test("knows the calling thread")
    func knowsTheCallingThread() throws {
        let host = try FakeHost()
        try host.write("proc/thread-self/stat", "4711 (x) R 1\n")
        try host.write("proc/thread-self/comm", "worker-3\n")
        #expect(ThreadGroupClock.currentThread(host.paths) == 4711)
        #expect(ThreadGroupClock.currentName(host.paths) == "worker-3")
    }
}
