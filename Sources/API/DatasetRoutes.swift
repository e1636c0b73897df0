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
                    query: [PageField.limit, PageField.after], handler: list),
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
        return .json(datasets.json { $0.json })
    }

    /// One dataset, by id or by name; 404 `dataset_not_found`.
    private func show(_ request: Request) throws -> Response {
        environment.refreshDatasets()
        let dataset = try Problem.translating { () throws(JobError) in
            try jobs.repositories.datasets.dataset(request.parameter("id"))
        }
        return .json(dataset.json)
    }
}

extension DatasetRecord {
    /// The dataset as clients see it; where its files lie is ours alone.
    var json: JSONValue {
        var object: JSONObject = [
            "id": .string(id.rawValue), "object": "dataset", "name": .string(name), "format": .string(format),
            "is_ready": .bool(isReady), "sha256": .string(sha256), "created_at": .number(createdAt.seconds),
        ]
        for (key, value) in details.objectValue?.members ?? [] { _ = object.insert(key, value) }
        return .object(object)
    }
}
