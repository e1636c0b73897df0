import JSON
import Jobs
import Store
import Testing

@Suite("What a running job reports") struct ReportTests {
    private func points(_ series: String, _ values: [Int: Double]) -> RunReport {
        var report = RunReport()
        report.points = values.sorted { $0.key < $1.key }.map {
            MetricPoint(series: series, step: $0.key, value: $0.value, at: .start + Int64($0.key))
        }
        return report
    }

    @Test("gives each curve a summary with its extremes and its best step")
    func summarises() throws {
        let store = try TemporaryStore()
        let job = try store.submit()
        let lease = try #require(try store.claim()).lease
        #expect(try store.jobs.record(points("val_loss", [1: 0.9, 2: 0.2, 3: 0.5]), for: lease, at: .start))
        #expect(
            try store.jobs.record(points("val_accuracy", [1: 0.5, 2: 0.8, 3: 0.7]), for: lease, at: .start))
        #expect(try store.jobs.record(points("val_loss", [4: 0.7]), for: lease, at: .start))
        #expect(
            try store.jobs.job(job.id).summary == [
                SeriesSummary(name: "val_loss", last: 0.7, min: 0.2, max: 0.9, bestStep: 2, count: 4),
                SeriesSummary(name: "val_accuracy", last: 0.7, min: 0.5, max: 0.8, bestStep: 2, count: 3),
            ])
    }

    @Test("keeps a value that is not a number, and finite extremes beside it")
    func keepsNotANumber() throws {
        let store = try TemporaryStore()
        let job = try store.submit()
        let lease = try #require(try store.claim()).lease
        let report = points("train_loss", [1: 2, 2: .infinity, 3: .nan])
        #expect(try store.jobs.record(report, for: lease, at: .start))
        let summary = try #require(try store.jobs.job(job.id).summary.first)
        #expect(summary.last.isNaN)
        #expect((summary.min, summary.max, summary.count) == (2, 2, 3))
        let curve = try #require(try store.metrics.metrics(of: job.id, CurveQuery()).first)
        #expect(curve.values[0...1] == [2, .infinity])
        #expect(curve.values[2].isNaN)
    }

    @Test("gives a thinned curve the points and times that thinning all of it gives")
    func thinsLongCurves() throws {
        let store = try TemporaryStore()
        let job = try store.submit()
        let lease = try #require(try store.claim()).lease
        // A spike, and a stretch that is no number at all.
        let values = Dictionary(
            uniqueKeysWithValues: (0..<5000).map { step in
                (step, step == 3210 ? 999 : (700..<900).contains(step) ? .nan : Double(step * 37 % 101))
            })
        let report = points("train_loss", values)
        #expect(try store.jobs.record(report, for: lease, at: .start))
        // Written twice, a point is counted twice: the curve may keep fewer points, never more.
        for (replaced, pointsMax) in [(false, 50), (false, 3), (true, 50)] {
            if replaced {
                #expect(try store.jobs.record(points("train_loss", [1: 37]), for: lease, at: .start))
            }
            var expected = CurveThinner(
                name: "train_loss", count: replaced ? 5001 : 5000, pointsMax: pointsMax)
            for point in report.points {
                let time = replaced && point.step == 1 ? Timestamp.start + 1 : point.at
                expected.add(step: point.step, value: point.value, at: time)
            }
            let whole = expected.finish()
            let query = CurveQuery(pointsMax: pointsMax)
            let curve = try #require(try store.metrics.metrics(of: job.id, query).first)
            #expect(curve.steps == whole.steps && curve.times == whole.times)
            #expect(curve.values.map(\.bitPattern) == whole.values.map(\.bitPattern))
            #expect(curve.steps.count <= pointsMax && (pointsMax < 4 || curve.steps.contains(3210)))
        }
    }

    @Test("is forgotten after the step that an attempt resumes at")
    func rewinds() throws {
        let store = try TemporaryStore()
        let job = try store.submit()
        let lease = try #require(try store.claim()).lease
        let losses = Dictionary(uniqueKeysWithValues: (1...50).map { ($0, 1 / Double($0)) })
        #expect(try store.jobs.record(points("train_loss", losses), for: lease, at: .start))
        #expect(try store.jobs.record(points("late", [45: 1]), for: lease, at: .start))
        #expect(try store.jobs.rewind(toStep: 20, of: "", for: lease))
        #expect(
            try store.jobs.job(job.id).summary == [
                SeriesSummary(name: "train_loss", last: 0.05, min: 0.05, max: 1, bestStep: 20, count: 20)
            ])
        let again = Dictionary(uniqueKeysWithValues: (21...50).map { ($0, 1 / Double($0)) })
        #expect(try store.jobs.record(points("train_loss", again), for: lease, at: .start))
        let curve = try #require(try store.metrics.metrics(of: job.id, CurveQuery()).first)
        #expect(curve.steps == Array(1...50))
        #expect(curve.values == (1...50).map { 1 / Double($0) })
    }

    @Test("is thinned on request, and only the series asked for come back")
    func thins() throws {
        let store = try TemporaryStore()
        let job = try store.submit()
        let lease = try #require(try store.claim()).lease
        var values = Dictionary(uniqueKeysWithValues: (1...5000).map { ($0, Double($0 % 7)) })
        values[1234] = 99
        #expect(try store.jobs.record(points("train_loss", values), for: lease, at: .start))
        #expect(try store.jobs.record(points("val_loss", [1: 1]), for: lease, at: .start))
        let curves = try store.metrics.metrics(of: job.id, CurveQuery(series: ["train_loss"], pointsMax: 100))
        #expect(curves.map(\.name) == ["train_loss"])
        #expect(curves[0].steps.count <= 100)
        #expect(curves[0].values.contains(99))
        let tail = try store.metrics.metrics(of: job.id, CurveQuery(series: ["train_loss"], sinceStep: 4990))
        #expect(tail[0].steps == Array(4991...5000))
    }

    @Test("of resources comes back as one curve for each figure that was sampled")
    func resourceCurves() throws {
        let store = try TemporaryStore()
        let job = try store.submit()
        let lease = try #require(try store.claim()).lease
        var report = RunReport()
        for second in 1...3 {
            var sample = ResourcePoint(at: .start + Int64(second * 1000), step: second * 10)
            sample.cpuPercent = Double(second)
            sample.watts = 7
            report.samples.append(sample)
        }
        #expect(try store.jobs.record(report, for: lease, at: .start))
        let curves = try store.metrics.resources(of: job.id, CurveQuery())
        #expect(curves.map(\.name) == ["cpu_percent", "watts"])
        #expect(curves[0].steps == [10, 20, 30])
        #expect(curves[0].values == [1, 2, 3])
        #expect(curves[1].times.last == .start + 3000)
    }

    @Test("as checkpoints keeps those that stay beside the last two and the best, up to a number")
    func keepsCheckpointsThatStay() throws {
        let store = try TemporaryStore()
        let job = try store.submit()
        let lease = try #require(try store.claim()).lease
        for step in 1...4 {
            for kind in CheckpointRecord.Kind.allCases {
                let record = CheckpointRecord.sample(
                    step: step, kind: kind, path: "\(kind.rawValue)-\(step)", at: .start + Int64(step))
                _ = try store.jobs.checkpoint(record, for: lease, at: .start)
            }
        }
        let paths = try store.jobs.checkpoints(of: job.id).map(\.path)
        #expect(paths == ["last-4", "kept-4", "best-4", "last-3", "kept-3", "kept-2", "kept-1"])
        for step in 5...CheckpointRecord.keptMax + 4 {
            let record = CheckpointRecord.sample(
                step: step, kind: .kept, path: "kept-\(step)", at: .start + Int64(step))
            let obsolete = try store.jobs.checkpoint(record, for: lease, at: .start)
            #expect(obsolete == (step > CheckpointRecord.keptMax ? ["kept-\(step - 100)"] : []))
        }
        let failure = JobFailure(code: "nan", message: "not a number")
        _ = try store.jobs.finish(lease, .failed(failure), at: .start)
        let gone = try store.jobs.delete(job.id, includingModels: false)
        #expect(gone.count == 104 && gone.last == job.id.folder)
    }

    @Test("as checkpoints keeps the last two and the best, and names the files that may go")
    func keepsCheckpoints() throws {
        let store = try TemporaryStore()
        let job = try store.submit()
        let lease = try #require(try store.claim()).lease
        let take = { (step: Int, kind: CheckpointRecord.Kind, path: String) in
            try store.jobs.checkpoint(
                .sample(step: step, kind: kind, path: path, at: .start + Int64(step)), for: lease, at: .start)
        }
        #expect(try take(1, .last, "1") == [])
        #expect(try take(1, .best, "best-1") == [])
        #expect(try take(2, .last, "2") == [])
        #expect(try take(3, .last, "3") == ["1"])
        #expect(try take(3, .best, "best-3") == ["best-1"])
        #expect(try store.jobs.checkpoints(of: job.id).map(\.path) == ["3", "best-3", "2"])
        #expect(try store.jobs.namedPaths() == ["2", "3", "best-3"])
    }

    @Test("as checkpoints keeps the newest by its step, whatever the clock says")
    func keepsCheckpointsWithoutAClock() throws {
        let store = try TemporaryStore()
        let job = try store.submit()
        let lease = try #require(try store.claim()).lease
        for (step, hours) in [(1, 2), (2, 3), (3, -5), (4, 0), (5, -9)] as [(Int, Int64)] {
            for kind in [CheckpointRecord.Kind.last, .best] {
                let record = CheckpointRecord.sample(
                    step: step, kind: kind, path: "\(kind.rawValue)-\(step)", at: .start + hours * 3_600_000)
                let obsolete = try store.jobs.checkpoint(record, for: lease, at: .start)
                let gone = kind == .last ? step - 2 : step - 1
                #expect(obsolete == (gone > 0 ? ["\(kind.rawValue)-\(gone)"] : []))
            }
        }
        #expect(try store.jobs.checkpoints(of: job.id).map(\.path) == ["last-5", "best-5", "last-4"])
    }

    @Test("never names a file for deletion that another row still needs")
    func sharesFiles() throws {
        let store = try TemporaryStore()
        try store.submit()
        let lease = try #require(try store.claim()).lease
        for (step, kind) in [(1, CheckpointRecord.Kind.last), (1, .best), (2, .last)] {
            let record = CheckpointRecord.sample(
                step: step, kind: kind, path: "c/\(step)", at: .start + Int64(step))
            _ = try store.jobs.checkpoint(record, for: lease, at: .start)
        }
        let third = CheckpointRecord.sample(step: 3, path: "c/3", at: .start + 3)
        #expect(try store.jobs.checkpoint(third, for: lease, at: .start) == [])
    }

    @Test("as events comes back in order after any cursor, nothing lost or repeated")
    func eventsFollowTheirCursor() throws {
        let store = try TemporaryStore()
        let job = try store.submit()
        let lease = try #require(try store.claim()).lease
        var report = RunReport()
        report.events = (0..<25).map {
            EventDraft(
                at: .start, level: .info, type: "note", message: "\($0)", data: ["n": .integer(Int64($0))])
        }
        #expect(try store.jobs.record(report, for: lease, at: .start))
        var (cursor, seen): (EventID?, [EventRecord]) = (nil, [])
        while true {
            let page = try store.events.events(of: job.id, after: cursor, limit: 7)
            seen += page
            guard let last = page.last else { break }
            cursor = last.id
        }
        #expect(seen.count == 27)
        #expect(seen.map(\.id) == seen.map(\.id).sorted())
        #expect(seen.filter { $0.type == "note" }.map(\.message) == (0..<25).map { "\($0)" })
        #expect(throws: JobError.self) { try store.events.events(of: JobID.unknown, after: nil, limit: 1) }
    }
}

extension JobID {
    /// A job that no test stores.
    static let unknown: JobID = IdentifierGenerator().next(at: Timestamp(milliseconds: 1))
}
