import Data
import Files
import Foundation
import Graph
import JSON
import Jobs
import Testing
import Training

@testable import vintner

/// What a job's `train` may say, field by field.
@Suite("No field of train is taken and then ignored") final class FieldEffectTests {
    enum Kind: String, CaseIterable, Sendable { case images, text, labelledTexts, labelledTokens }

    /// A field, a value that asks for something, and what has to stand beside it.
    struct Case: Sendable {
        let place: String
        let value: JSONValue
        var beside: [String: JSONValue] = [:]
        /// The datasets with which it does something.
        var kinds = Kind.allCases

        init(
            _ place: String, _ value: JSONValue, beside: [String: JSONValue] = [:],
            kinds: [Kind] = Kind.allCases
        ) { (self.place, self.value, self.beside, self.kinds) = (place, value, beside, kinds) }
    }

    static let cases: [Case] = [
        Case("/epochs", 3), Case("/steps", 7), Case("/eval_every_steps", 2), Case("/batch_size", 3),
        Case("/micro_batch_size", 2), Case("/checkpoint_segments", 2), Case("/precision", "bf16"),
        Case("/loss", "mse"), Case("/label_smoothing", 0.1),
        Case("/huber_delta", 0.5, beside: ["/loss": "huber"]), Case("/clip_grad_norm", 1.5),
        Case("/ema_decay", 0.9), Case("/validation_fraction", 0.1, kinds: [.images]),
        Case("/checkpoint_every_seconds", 5.5),
        Case("/keep_checkpoint_every_steps", 10, beside: ["/steps": 50]), Case("/keep", "best"),
        Case("/optimizer/name", "adam"), Case("/optimizer/lr", 0.01), Case("/optimizer/momentum", 0.9),
        Case("/optimizer/nesterov", true, beside: ["/optimizer/momentum": 0.9]),
        Case("/optimizer/betas", [0.8, 0.9], beside: ["/optimizer/name": "adamw"]),
        Case("/optimizer/eps", 1e-6, beside: ["/optimizer/name": "adam"]),
        Case("/optimizer/alpha", 0.9, beside: ["/optimizer/name": "rmsprop"]),
        Case("/optimizer/weight_decay", 0.1),
        Case("/optimizer/decay_bias_and_norm", true, beside: ["/optimizer/weight_decay": 0.1]),
        Case("/lr_schedule/name", "cosine"), Case("/lr_schedule/warmup_steps", 3),
        Case("/lr_schedule/min_lr_ratio", 0.5, beside: ["/lr_schedule/name": "linear"]),
        Case("/lr_schedule/step_size", 2, beside: ["/lr_schedule/name": "step"]),
        Case("/lr_schedule/gamma", 0.5, beside: ["/lr_schedule/name": "exponential"]),
        Case("/lr_schedule/pct_start", 0.5, beside: ["/lr_schedule/name": "one_cycle"]),
        Case("/lr_schedule/div_factor", 5.5, beside: ["/lr_schedule/name": "one_cycle"]),
        Case("/lr_schedule/final_div_factor", 5.5, beside: ["/lr_schedule/name": "one_cycle"]),
        Case("/lr_schedule/decay_fraction", 0.5, beside: ["/lr_schedule/name": "warmup_stable_decay"]),
        Case("/augment/random_crop", 1, kinds: [.images]),
        Case("/augment/horizontal_flip", true, kinds: [.images]),
        Case("/augment/cutout", 2, kinds: [.images]), Case("/augment/mixup", 0.2, kinds: [.images]),
        Case("/early_stopping/patience", 5), Case("/early_stopping/min_delta", 0.1),
        Case("/early_stopping/metric", "val_accuracy"), Case("/lora/rank", 2), Case("/lora/alpha", 4.5),
        Case("/lora/targets", ["*"], beside: ["/lora/rank": 2]), Case("/lora/train_bias", true),
        Case("/lora/train_norm", true),
    ]

    /// Fields that belong to some choices, and which these are.
    static let owned: [(place: String, value: JSONValue, choice: String, owners: Set<String>)] = [
        ("/label_smoothing", 0.1, "/loss", ["cross_entropy"]), ("/huber_delta", 0.5, "/loss", ["huber"]),
        ("/optimizer/momentum", 0.5, "/optimizer/name", ["sgd", "rmsprop"]),
        ("/optimizer/nesterov", false, "/optimizer/name", ["sgd"]),
        ("/optimizer/betas", [0.8, 0.9], "/optimizer/name", ["adam", "adamw", "lion"]),
        ("/optimizer/eps", 1e-6, "/optimizer/name", ["adam", "adamw", "rmsprop"]),
        ("/optimizer/alpha", 0.9, "/optimizer/name", ["rmsprop"]),
        ("/lr_schedule/min_lr_ratio", 0.5, "/lr_schedule/name", ["linear", "cosine", "warmup_stable_decay"]),
        ("/lr_schedule/step_size", 2, "/lr_schedule/name", ["step", "exponential"]),
        ("/lr_schedule/gamma", 0.5, "/lr_schedule/name", ["step", "exponential"]),
        ("/lr_schedule/pct_start", 0.5, "/lr_schedule/name", ["one_cycle"]),
        ("/lr_schedule/div_factor", 5, "/lr_schedule/name", ["one_cycle"]),
        ("/lr_schedule/final_div_factor", 5, "/lr_schedule/name", ["one_cycle"]),
        ("/lr_schedule/decay_fraction", 0.5, "/lr_schedule/name", ["warmup_stable_decay"]),
    ]

    static let choices: [String: [String]] = [
        "/loss": TrainOptions.LossName.allCases.map(\.rawValue),
        "/optimizer/name": TrainOptions.OptimizerName.allCases.map(\.rawValue),
        "/lr_schedule/name": TrainOptions.ScheduleName.allCases.map(\.rawValue),
    ]

    private let folder = NSTemporaryDirectory() + "vintner-fields-" + UUID().uuidString
    private let catalogue: DatasetCatalogue

    init() throws {
        try Folder.make(folder)
        catalogue = DatasetCatalogue(folder: folder + "/datasets", systemFolder: Service.systemDatasets)
        let play = String(repeating: "To be, or not to be. ", count: 10)
        let mail = "text,label\n" + String(repeating: "buy now,spam\nhello you,ham\n", count: 10)
        let tags = "token,label\n" + String(repeating: "buy,verb\nnow,adverb\n\nyou,noun\n\n", count: 10)
        for (name, text, format) in [
            ("play", play, DatasetFormat.text(.init())), ("mail", mail, .csv(.init(unit: .word))),
            ("tags", tags, .csv(.init(unit: .word))),
        ] {
            let file = "\(folder)/\(name).\(name == "play" ? "txt" : "csv")"
            try AtomicFile.write(Array(text.utf8), to: file)
            _ = try catalogue.add(name, from: file, as: format, id: "dst_\(name)", now: 0)
        }
    }

    deinit { try? FileManager.default.removeItem(atPath: folder) }

    private func body(_ kind: Kind, _ fields: [String: JSONValue]) -> JSONValue {
        let small: JSONObject = ["layers": 1, "heads": 2, "width": 8, "context": 4]
        let (dataset, preset, changes): (String, String, JSONObject) =
            switch kind {
            case .images: ("fashion-mnist", "mlp", ["hidden": [16]])
            case .text: ("play", "gpt", small)
            case .labelledTexts: ("mail", "bert", small)
            case .labelledTokens: ("tags", "bert", small)
            }
        var model = changes
        model["preset"] = .string(preset)
        var train = JSONObject()
        for (place, value) in fields {
            let path = place.split(separator: "/").map(String.init)
            if path.count == 1 {
                train[path[0]] = value
            } else {
                var nested = train[path[0]]?.objectValue ?? [:]
                nested[path[1]] = value
                train[path[0]] = .object(nested)
            }
        }
        return [
            "type": "train", "dataset": .string(dataset), "model": .object(model), "train": .object(train),
        ]
    }

    private func read(_ kind: Kind, _ fields: [String: JSONValue]) throws -> JobRequest {
        try JobRequest.read(body(kind, fields), catalogue: catalogue, cores: 2)
    }

    private func violations(_ kind: Kind, _ fields: [String: JSONValue]) -> [Violation] {
        do {
            _ = try JobRequest.read(body(kind, fields), catalogue: catalogue, cores: 2)
            return []
        } catch { return error.violations }
    }

    @Test("every field of the schema is in this table")
    func complete() {
        func places(_ schema: JSONValue, _ prefix: String) -> [String] {
            (schema["properties"]?.objectValue?.members ?? []).flatMap { member in
                member.value["properties"] == nil
                    ? ["\(prefix)/\(member.key)"] : places(member.value, "\(prefix)/\(member.key)")
            }
        }
        #expect(Set(places(TrainFields.schema.jsonSchema(), "")) == Set(Self.cases.map(\.place)))
    }

    @Test("with each kind of data it changes the run, or is refused where it stands", arguments: cases)
    func acts(item: Case) throws {
        for kind in Kind.allCases {
            var fields = item.beside
            fields[item.place] = item.value
            guard item.kinds.contains(kind) else {
                #expect(violations(kind, fields).map(\.pointer) == ["/train" + item.place], "\(kind)")
                continue
            }
            let request = try read(kind, fields)
            let plain = try read(kind, item.beside)
            #expect(
                String(describing: request.options) != String(describing: plain.options), "\(kind)")
            let path = item.place.split(separator: "/").map(String.init)
            let resolved = path.reduce(request.resolved["train"]) { $0?[$1] }
            #expect(resolved == item.value, "\(kind)")
            let again = try JobRequest.read(.object(request.resolved), catalogue: catalogue, cores: 2)
            #expect(again.resolved == request.resolved, "\(kind)")
        }
    }

    @Test("with each choice that has no use for it, it is refused, and its owners are named")
    func owners() throws {
        for (place, value, choice, owners) in Self.owned {
            for name in Self.choices[choice] ?? [] {
                let found = violations(.labelledTexts, [choice: .string(name), place: value])
                guard !owners.contains(name) else {
                    #expect(found.isEmpty, "\(name) \(place)")
                    continue
                }
                #expect(found.map(\.pointer) == ["/train" + place], "\(name) \(place)")
                for owner in owners { #expect(found.first?.detail.contains(owner) == true) }
            }
        }
    }

    @Test("every loss is for every kind of data", arguments: Kind.allCases)
    func losses(kind: Kind) throws {
        for name in Self.choices["/loss"] ?? [] {
            #expect(violations(kind, ["/loss": .string(name)]).isEmpty, "\(name)")
        }
    }

    @Test("values without any effect are refused, and so are batches that cannot be learned from")
    func effectless() throws {
        #expect(violations(.images, ["/ema_decay": 0]).map(\.pointer) == ["/train/ema_decay"])
        #expect(violations(.images, ["/augment/cutout": 29]).map(\.pointer) == ["/train/augment/cutout"])
        #expect(violations(.images, ["/augment/cutout": 28]).isEmpty)
        let parts: [String: JSONValue] = ["/batch_size": 8, "/micro_batch_size": 9]
        #expect(violations(.images, parts).map(\.pointer) == ["/train/micro_batch_size"])
        let warmup: [String: JSONValue] = ["/steps": 5, "/lr_schedule/warmup_steps": 5]
        #expect(violations(.images, warmup).map(\.pointer) == ["/train/lr_schedule/warmup_steps"])
        for (train, place) in [
            (["batch_size": 1], "/train/batch_size"), (["batch_size": 59_999], "/train/batch_size"),
            (["batch_size": 9, "micro_batch_size": 4], "/train/micro_batch_size"), (["batch_size": 8], nil),
        ] as [(JSONValue, String?)] {
            let body: JSONValue = [
                "type": "train", "dataset": "fashion-mnist", "train": train,
                "model": [
                    "layers": [
                        ["type": "flatten"], ["type": "linear", "out_features": 9], ["type": "batch_norm"],
                        ["type": "linear", "out_features": 10],
                    ]
                ],
            ]
            var found: [String] = []
            do { _ = try JobRequest.read(body, catalogue: catalogue, cores: 2) } catch {
                found = error.violations.map(\.pointer)
            }
            #expect(found == [place].compactMap(\.self), "\(train)")
        }
    }

    @Test("of two fields that contradict each other the weaker one is refused")
    func contradictions() {
        #expect(violations(.text, ["/epochs": 3, "/steps": 9]).map(\.pointer) == ["/train/epochs"])
        #expect(violations(.text, ["/epochs": 3, "/steps": .null]).isEmpty)
        let last: [String: JSONValue] = ["/keep": "last", "/early_stopping/patience": 2]
        #expect(violations(.text, last).map(\.pointer) == ["/train/keep"])
        // A choice that does not exist is the only thing to complain about.
        let unknown: [String: JSONValue] = ["/optimizer/name": "adagrad", "/optimizer/betas": [0.9, 0.99]]
        #expect(violations(.text, unknown).map(\.pointer) == ["/train/optimizer/name"])
    }
}
