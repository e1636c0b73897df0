import JSON
import Jobs
import Store
import Testing

@Suite("Lists") struct ListTests {
    private func pages(_ store: TemporaryStore, _ query: JobQuery, between: () throws -> Void = {}) throws
        -> [[JobID]]
    {
        var (query, pages) = (query, [[JobID]]())
        while true {
            let page = try store.jobs.list(query)
            pages.append(page.items.map(\.id))
            guard let cursor = page.nextCursor else { return pages }
            query.page = PageRequest(limit: query.page.limit, after: cursor)
            try between()
        }
    }

    @Test("show each job once, newest first, while jobs are added")
    func areStable() throws {
        let store = try TemporaryStore()
        let ids = try (0..<10).map { try store.submit(at: .start + Int64($0)).id }
        var query = JobQuery()
        query.page = PageRequest(limit: 4)
        let seen = try pages(store, query) { try store.submit(at: .start + 99) }
        #expect(seen.flatMap { $0 } == ids.reversed())
        #expect(seen.map(\.count) == [4, 4, 2])
    }

    @Test("show the oldest first on request")
    func canBeReversed() throws {
        let store = try TemporaryStore()
        let ids = try (0..<5).map { try store.submit(at: .start + Int64($0)).id }
        var query = JobQuery()
        query.order = .oldestFirst
        query.page = PageRequest(limit: 2)
        #expect(try pages(store, query) == [[ids[0], ids[1]], [ids[2], ids[3]], [ids[4]]])
    }

    @Test("show those that are over by when they ended, while others end")
    func areSortedByEnd() throws {
        let store = try TemporaryStore()
        let ids = try (0..<7).map { try store.submit(at: .start + Int64($0)).id }
        let reason = JobReason(code: "c", message: "m")
        // In another order than they were submitted; two at the same time.
        for (place, at) in [(3, 10), (0, 20), (5, 20), (1, 30)] as [(Int, Int64)] {
            _ = try store.jobs.cancel(ids[place], reason: reason, at: .start + at)
        }
        var query = JobQuery()
        (query.order, query.page) = (.lastEnded, PageRequest(limit: 2))
        #expect(
            try pages(store, query) { _ = try store.jobs.cancel(ids[2], reason: reason, at: .start + 99) }
                == [[ids[1], ids[5]], [ids[0], ids[3]]])
        query.order = .firstEnded
        #expect(try pages(store, query) == [[ids[3], ids[0]], [ids[5], ids[1]], [ids[2]]])
        query.states = [.succeeded]
        #expect(try pages(store, query) == [[]])
        query.page = PageRequest(after: "1.2.\(ids[0])")
        #expect(throws: JobError.invalidCursor) { try store.jobs.list(query) }
    }

    @Test("go on behind the job of a cursor, whichever list it is from")
    func knowCursorsOfOtherOrders() throws {
        let store = try TemporaryStore()
        let ids = try (0..<4).map { try store.submit(at: .start + Int64($0)).id }
        for (place, at) in [(2, 10), (0, 20), (1, 30)] as [(Int, Int64)] {
            _ = try store.jobs.cancel(ids[place], reason: JobReason(code: "c", message: "m"), at: .start + at)
        }
        let behind = { (order: JobQuery.Order, cursor: String) in
            var query = JobQuery()
            (query.order, query.page) = (order, PageRequest(after: cursor))
            return try store.jobs.list(query).items.map(\.id)
        }
        #expect(try behind(.firstEnded, ids[0].rawValue) == [ids[1]])
        #expect(try behind(.lastEnded, ids[0].rawValue) == [ids[2]])
        #expect(try behind(.lastEnded, ids[3].rawValue) == [], "not over: no place in that list")
        let end = (Timestamp.start + 20).milliseconds
        #expect(try behind(.oldestFirst, "\(end).\(ids[0])") == [ids[1], ids[2], ids[3]])
        #expect(try behind(.newestFirst, "\(end).\(ids[2])") == [ids[1], ids[0]])
    }

    @Test("show what a client asked for and nothing else")
    func areFiltered() throws {
        let store = try TemporaryStore()
        let one = try store.submit(
            .sample(name: "LeNet one", labels: ["ci": "yes", "a.b": "c\"d"]), at: .start)
        let two = try store.submit(.sample(name: "mlp", labels: ["ci": "no"]), at: .start + 10)
        let three = try store.submit(.sample(name: "lenet three", labels: ["ci": "yes"]), at: .start + 20)
        _ = try store.jobs.pause(three.id, at: .start)
        let found = { (change: (inout JobQuery) -> Void) in
            var query = JobQuery()
            change(&query)
            return try store.jobs.list(query).items.map(\.id)
        }
        #expect(try found { $0.states = [.paused] } == [three.id])
        #expect(try found { $0.states = [.paused, .queued] } == [three.id, two.id, one.id])
        #expect(try found { $0.labels = ["ci": "yes"] } == [three.id, one.id])
        #expect(try found { $0.labels = ["ci": "yes", "a.b": "c\"d"] } == [one.id])
        #expect(try found { $0.nameContains = "LENET" } == [three.id, one.id])
        #expect(try found { $0.nameContains = "%" } == [])
        #expect(try found { $0.createdAfter = .start + 10 } == [three.id])
        #expect(try found { $0.types = [JobType(rawValue: "prune")] } == [])
        #expect(throws: JobError.invalidCursor) { try found { $0.page = PageRequest(after: "x' OR 1=1 --") } }
    }

    @Test("of models and datasets page the same way")
    func modelsAndDatasets() throws {
        let store = try TemporaryStore()
        let models = try (0..<3).map { index in
            let model = ModelRecord.sample(store, job: nil, path: "models/\(index)")
            try store.models.add(model)
            return model
        }
        let first = try store.models.models(PageRequest(limit: 2))
        #expect(first.items == [models[2], models[1]])
        let second = try store.models.models(PageRequest(limit: 2, after: first.nextCursor))
        #expect(second.items == [models[0]])
        #expect(!second.hasMore)
        #expect(
            try store.models.deleteModel(models[0].id) == DeletedModel(path: "models/0", makers: []))
        #expect(throws: JobError.modelNotFound(models[0].id)) { try store.models.model(models[0].id) }
    }

    @Test("know a dataset by identifier and by name, and a name only once")
    func datasets() throws {
        let store = try TemporaryStore()
        var dataset = DatasetRecord(
            id: store.database.identifiers.next(at: .start), name: "fashion-mnist", format: "idx",
            isReady: false,
            path: "datasets/a", sha256: "", createdAt: .start, details: ["classes": 10])
        try store.datasets.add(dataset)
        #expect(try store.datasets.dataset("fashion-mnist") == dataset)
        #expect(try store.datasets.dataset(dataset.id.rawValue) == dataset)
        #expect(throws: JobError.nameTaken("fashion-mnist")) { try store.datasets.add(dataset) }
        dataset.isReady = true
        dataset.sha256 = "abc"
        try store.datasets.update(dataset)
        #expect(try store.datasets.datasets(PageRequest()).items == [dataset])
        #expect(try store.datasets.deleteDataset(dataset.id) == "datasets/a")
        #expect(throws: JobError.datasetNotFound("fashion-mnist")) {
            try store.datasets.dataset("fashion-mnist")
        }
    }
}
