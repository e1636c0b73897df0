import Host
import Testing

@Suite("The energy of a job") struct EnergyMeterTests {
    private func measurable() throws -> FakeHost {
        let host = try FakeHost()
        for (zone, name) in [
            ("intel-rapl:0", "package-0"), ("intel-rapl:0:0", "core"), ("intel-rapl:1", "psys"),
        ] {
            try host.write("sys/class/powercap/\(zone)/name", name + "\n")
            try host.write("sys/class/powercap/\(zone)/energy_uj", "900000000\n")
            try host.write("sys/class/powercap/\(zone)/max_energy_range_uj", "1000000000\n")
        }
        try host.write("proc/stat", "cpu  1000 0 500 99999 7 0 0 0 0 0\ncpu0 1 1 1 1\n")
        return host
    }

    @Test("is its share of what the package counted")
    func measures() throws {
        let host = try measurable()
        var meter = EnergyMeter(threads: 2, now: 0, host.paths)
        #expect(meter.method == .rapl)
        // 60 J; the machine was busy for 4 s, the job for 3 of them.
        try host.write("sys/class/powercap/intel-rapl:0/energy_uj", "960000000\n")
        try host.write("proc/stat", "cpu  1300 0 600 99999 7 0 0 0 0 0\n")
        #expect(meter.sample(processorSeconds: 3, now: 2_000_000_000) == 22.5)
        #expect(meter.joules == 45)
    }

    @Test("is right when the counter starts over")
    func survivesWrapAround() throws {
        let host = try measurable()
        var meter = EnergyMeter(threads: 2, now: 0, host.paths)
        try host.write("sys/class/powercap/intel-rapl:0/energy_uj", "20000000\n")
        try host.write("proc/stat", "cpu  1100 0 500 99999 7 0 0 0 0 0\n")
        meter.sample(processorSeconds: 1, now: 1_000_000_000)
        #expect(abs(meter.joules - 120) < 1e-9)
    }

    @Test("never exceeds what the package counted")
    func isBounded() throws {
        let host = try measurable()
        var meter = EnergyMeter(threads: 2, now: 0, host.paths)
        try host.write("sys/class/powercap/intel-rapl:0/energy_uj", "901000000\n")
        try host.write("proc/stat", "cpu  1001 0 500 99999 7 0 0 0 0 0\n")
        meter.sample(processorSeconds: 9, now: 1_000_000_000)
        #expect(meter.joules == 1)
    }

    @Test("is computed where nothing is counted, and says so")
    func models() throws {
        var meter = EnergyMeter(threads: 2, now: 0, try FakeHost().paths)
        #expect(meter.method == .model)
        let watts = meter.sample(processorSeconds: 20, now: 10_000_000_000)
        // Two threads, fully busy: twice the busy watts.
        #expect(abs(watts - 7) < 1e-9)
        #expect(abs(meter.joules - 70) < 1e-9)
        #expect(meter.sample(processorSeconds: 20, now: 10_000_000_000) == 0)
    }
}
