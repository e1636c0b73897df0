import HTTP
import JSON
import Jobs

/// The datasets that jobs can name.
struct DatasetRoutes: Sendable {
    let jobs: JobService
    let environment: APIEnvironment

    var operations: [Operation] {
        [
            Operation(
                "listDatasets", "One page of datasets, newest first.", .datasets,
                Route(
                    .get, "/v1/datasets", access: .requires(.read),
                    query: [PageField.limit, PageField.after("dst")], handler: list),
                answers: [.json("The page.", .datasetPage)]),
            Operation(
                "getDataset", "One dataset, by id or by name.", .datasets,
                Route(.get, "/v1/datasets/{id}", access: .requires(.read), query: [], handler: show),
                path: [.dataset], answers: [.json("The dataset.", .dataset)]),
        ]
    }

    /// One page of datasets, newest first.
    private func list(_ request: Request) throws -> Response {
        environment.refreshDatasets()
        let datasets = try Problem.translating { () throws(JobError) in
            try jobs.repositories.datasets.datasets(request.query.page)
        }
        let open = try datasets.items.filter { !$0.isReady }.map { ($0.id, try document($0)) }
        let documents = Dictionary(open) { first, _ in first }
        return .json(datasets.json { documents[$0.id] ?? $0.json })
    }

    /// One dataset, by id or by name; 404 `dataset_not_found`.
    private func show(_ request: Request) throws -> Response {
        environment.refreshDatasets()
        let dataset = try Problem.translating { () throws(JobError) in
            try jobs.repositories.datasets.dataset(request.parameter("id"))
        }
        var members = try document(dataset).objectValue ?? [:]
        if dataset.isReady, let preview = environment.datasetPreview(dataset) {
            members["preview"] = preview
        }
        return .json(.object(members))
    }

    /// A dataset as clients see it, with its files while it is open.
    private func document(_ dataset: DatasetRecord) throws(Problem) -> JSONValue {
        guard !dataset.isReady else { return dataset.json }
        let files = try Problem.translating { () throws(JobError) in
            try jobs.repositories.datasets.files(of: dataset.id)
        }
        return dataset.json(openWith: files, environment.intake)
    }
}

extension DatasetRecord {
    /// A dataset that is ready as clients see it; where its files lie is ours alone.
    var json: JSONValue {
        var object: JSONObject = [
            "id": .string(id.rawValue), "object": "dataset", "name": .string(name), "format": .string(format),
            "is_ready": .bool(isReady), "state": "ready", "sha256": .string(sha256),
            "created_at": .number(createdAt.seconds),
        ]
        for (key, value) in details.objectValue?.members ?? [] { _ = object.insert(key, value) }
        return .object(object)
    }
}
