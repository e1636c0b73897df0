import Data
import Files
import Graph
import JSON
import Plan
import Tensor
import Testing
import Training

@Suite("A teacher that does not fit is refused") struct TeacherTests {
    private func refusal(
        _ toy: Toy, _ model: ModelSpec? = nil, _ description: JSONObject? = nil
    ) throws -> String {
        let trainer = try toy.trainer(model: model)
        let path = toy.file("misfit")
        let receipt = try trainer.saveModel(
            to: path, description: description ?? toy.dataset.modelDescription)
        let teacher = try TeacherModel(path, sha256: receipt.sha256.hex)
        let task = TrainingTask(
            model: try toy.model(), options: School.plain, dataset: toy.dataset, seed: 1,
            distillation: Distillation(DistillOptions(), teachers: [teacher]))
        do {
            _ = try Trainer(task)
            return "accepted"
        } catch {
            guard case .badTeacher(let found, let reason) = error else { throw error }
            #expect(found == path)
            return reason
        }
    }

    private func flat(_ input: [Int], _ kinds: [LayerKind]) throws -> ModelSpec {
        try ModelSpec(
            input: Shape(input),
            layers: ([.flatten] + kinds).enumerated().map { LayerSpec($1, name: "t\($0)") })
    }

    @Test("with another number of classes, or probabilities instead of logits")
    func output() throws {
        let toy = try Toy()
        #expect(try refusal(toy) == "accepted")
        let wide = try flat([1, 6, 5], [.linear(.init(outFeatures: 4))])
        #expect(try refusal(toy, wide) == "its output is 4, the student's 3")
        let soft = try flat([1, 6, 5], [.linear(.init(outFeatures: 3)), .softmax])
        #expect(try refusal(toy, soft) == "it ends in a softmax, and the outputs before that are needed")
    }

    @Test("with other names or another order of the classes, or without names")
    func classes() throws {
        let toy = try Toy()
        let names = toy.dataset.info.classNames
        var description = toy.dataset.modelDescription
        description["classes"] = .array(names.reversed().map { .string($0) })
        #expect(
            try refusal(toy, nil, description)
                == "class 0 is \"\(names[2])\" to the model and \"\(names[0])\" in the dataset")
        description["classes"] = nil
        #expect(try refusal(toy, nil, description) == "it names 0 classes, the dataset 3")
    }

    @Test("that saw its images normalised otherwise")
    func normalisation() throws {
        let toy = try Toy()
        var description = toy.dataset.modelDescription
        description["mean"] = [0.5]
        let reason = try refusal(toy, nil, description)
        #expect(reason.hasPrefix("its input is normalised by mean [0.5] and deviation ["))
        description = toy.dataset.modelDescription
        description["std"] = nil
        #expect(try refusal(toy, nil, description).contains("deviation []"))
    }

    @Test("whose file has changed")
    func changed() throws {
        let school = try School()
        #expect(throws: TrainingError.self) {
            try TeacherModel(school.teacher.stored.path, sha256: String(repeating: "0", count: 64))
        }
    }
}

@Suite("The fields of distill") struct DistillFieldsTests {
    private func read(_ text: String, _ train: TrainOptions = TrainOptions()) throws -> (
        options: DistillOptions, resolved: JSONObject, violations: [String]
    ) {
        let log = ViolationLog()
        let schema = ObjectSchema("distill", "", fields: DistillFields.fields)
        var reader = ObjectReader(
            try JSONValue(parsing: Array(text.utf8)), as: schema, at: "/distill", log: log)
        let options = DistillOptions.read(&reader)
        reader.finish()
        options.check(with: train, at: "/distill", log: log)
        return (options, reader.resolved, log.violations.map { "\($0.pointer) \($0.code)" })
    }

    @Test("have the defaults that are published")
    func defaults() throws {
        let (options, resolved, violations) = try read("{}")
        #expect(violations.isEmpty && options == DistillOptions())
        #expect(options.temperature == 4 && options.alpha == 0.1 && options.loss == .kl)
        #expect(
            resolved["temperature"] == .number(4) && resolved["alpha"] == 0.1 && resolved["loss"] == "kl"
                && resolved["dkd"] == nil && resolved["jsd_beta"] == nil
                && resolved["teacher_cache"] == "none")
        let decoupled = try read(#"{"loss": "dkd"}"#)
        #expect(
            decoupled.resolved["dkd"] == ["alpha": .number(1), "beta": .number(8), "warmup_epochs": 20]
                && decoupled.options.softWeight(epoch: 0) == 0.05
                && decoupled.options.softWeight(epoch: 30) == 1 && options.softWeight(epoch: 0) == 1)
    }

    @Test("tell every violation at once")
    func violations() throws {
        let text = #"""
            {"loss": "kld", "temperature": 0, "alpha": 1.5, "dkd": {"beta": -1}, "teacher_cache": "ram",
             "temprature": 3}
            """#
        var train = TrainOptions()
        train.loss = .meanSquaredError(oneHot: true)
        #expect(
            try Set(read(text, train).violations) == [
                "/distill/loss invalid_value", "/distill/temperature out_of_range",
                "/distill/alpha out_of_range", "/distill/dkd/beta out_of_range",
                "/distill/teacher_cache invalid_value",
                "/distill/temprature unknown_field", "/train/loss invalid_value",
            ])
        #expect(
            try Set(read(#"{"loss": "mse_logits", "temperature": 2, "jsd_beta": 0.1, "dkd": {}}"#).violations)
                == [
                    "/distill/temperature invalid_value", "/distill/jsd_beta invalid_value",
                    "/distill/dkd invalid_value",
                ], "what the loss would not use")
        #expect(try read(#"{"loss": "jsd", "jsd_beta": 0.1, "dkd": null}"#).violations.isEmpty)
        train = TrainOptions()
        train.augmentation = Augmentation(mixupAlpha: 0.2)
        #expect(try read(#"{"loss": "dkd"}"#, train).violations == ["/distill/loss invalid_value"])
    }
}
