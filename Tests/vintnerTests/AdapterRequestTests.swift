import Graph
import JSON
import Jobs
import Testing
import Training

@testable import vintner

@Suite("A job that trains adapters, or starts from a stored model") struct AdapterRequestTests {
    /// One stored model: a multilayer perceptron for images of 28 by 28.
    private struct OneModel: ModelRepository {
        let record: ModelRecord

        init(classes: Int = 10) throws {
            let text = """
                {"input": [1, 28, 28], "layers": [{"type": "flatten"},
                 {"type": "linear", "out_features": 32, "name": "fc1"}, {"type": "relu"},
                 {"type": "linear", "out_features": \(classes), "name": "fc2"}]}
                """
            let id = try #require(ModelID("mdl_01arz3ndektsv4rrffq69g5fav"))
            record = ModelRecord(
                id: id, name: "base", jobID: nil, createdAt: Timestamp(milliseconds: 0),
                architecture: try JSONValue(parsing: Array(text.utf8)), parameters: 0, macs: 0,
                path: "models/x/model.safetensors", byteCount: 1, sha256: "00")
        }

        func add(_ model: ModelRecord) throws(JobError) {}
        func model(_ id: ModelID) throws(JobError) -> ModelRecord {
            guard id == record.id else { throw .modelNotFound(id) }
            return record
        }
        func models(_ page: PageRequest) throws(JobError) -> Page<ModelRecord> {
            Page(items: [record], nextCursor: nil)
        }
        func deleteModel(_ id: ModelID) throws(JobError) -> DeletedModel { throw .modelNotFound(id) }
    }

    private static func body(_ model: JSONValue, lora: JSONValue = .null) -> JSONValue {
        ["type": "train", "dataset": "fashion-mnist", "model": model, "train": ["lora": lora]]
    }

    private func violations(_ body: JSONValue, _ models: OneModel? = nil) -> [Violation] {
        do {
            _ = try JobRequest.read(body, catalogue: catalogue, models: models, cores: 2)
            return []
        } catch { return error.violations }
    }

    @Test("takes the architecture of the stored model, and reads the same when it is read again")
    func storedModel() throws {
        let models = try OneModel()
        let body = Self.body(["id": .string(models.record.id.rawValue)], lora: ["rank": 4])
        let request = try JobRequest.read(body, catalogue: catalogue, models: models, cores: 2)
        #expect(request.base == models.record)
        #expect(request.model.graph.parameters.map(\.name).first == "fc1.weight")
        #expect(request.graph.adapters.map(\.layer) == ["fc1"])
        #expect(request.options.adapters == LowRankAdapters(rank: 4))
        let again = try JobRequest.read(
            .object(request.resolved), catalogue: catalogue, models: models, cores: 2)
        #expect(again.resolved == request.resolved && again.base == request.base)
    }

    @Test("is refused for a model that is not there, is no identifier, or does not fit the dataset")
    func badModels() throws {
        let models = try OneModel()
        let missing = violations(Self.body(["id": "mdl_01arz3ndektsv4rrffq69g5faw"]), models)
        #expect(missing.map(\.pointer) == ["/model/id"] && missing.map(\.code) == ["unknown_model"])
        let text = violations(Self.body(["id": "mine"]), models)
        #expect(text.map(\.pointer) == ["/model/id"] && text.map(\.code) == ["invalid_value"])
        let more = violations(
            Self.body(["id": .string(models.record.id.rawValue), "classes": 10]), models)
        #expect(more.map(\.pointer) == ["/model/classes"])
        let other = try OneModel(classes: 7)
        let unfit = violations(Self.body(["id": .string(other.record.id.rawValue)]), other)
        #expect(unfit.map(\.pointer) == ["/model/id"])
        #expect(unfit.first?.detail.contains("10 classes") == true)
    }

    @Test("is refused for adapters that fit no layer, with the place")
    func badAdapters() {
        let model: JSONValue = ["preset": "lenet_300_100"]
        let rank = violations(Self.body(model, lora: ["rank": 200]))
        #expect(rank.map(\.pointer) == ["/train/lora/rank"])
        let names = violations(Self.body(model, lora: ["rank": 2, "targets": ["conv*"]]))
        #expect(names.map(\.pointer) == ["/train/lora/targets/0"])
        let fields = violations(Self.body(model, lora: ["rank": 0, "alpha": -1, "tragets": []]))
        #expect(
            Set(fields.map(\.pointer)) == ["/train/lora/rank", "/train/lora/alpha", "/train/lora/tragets"])
        let linear: JSONValue = ["preset": "linear", "classes": 10]
        #expect(violations(Self.body(linear, lora: [:])).map(\.pointer) == ["/train/lora/targets"])
    }

    @Test("says how many numbers are trained")
    func estimate() throws {
        let models = try OneModel()
        let resolver = SpecResolver(
            catalogue: catalogue, budget: Budget(threads: 2, memoryBytes: 8 << 30),
            limits: MachineLimits(), models: models)
        let id: JSONValue = ["id": .string(models.record.id.rawValue)]
        let job = try resolver.resolve(Self.body(id, lora: ["rank": 4]))
        #expect(job.estimate["trained_parameters"] == JSONValue(4 * (784 + 32)))
        #expect(try resolver.resolve(Self.body(id)).estimate["trained_parameters"] == nil)
    }
}
