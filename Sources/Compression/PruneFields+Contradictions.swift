internal import JSON

// What is wrong with fields that are right on their own.
extension PruneOptions {
    /// Fields that only some structures, criteria or schedules have.
    ///
    /// Where they are not sent they are no part of the resolved object either.
    func complainOfIdleFields(_ reader: inout ObjectReader) {
        let isGradual: Bool
        let isCubic: Bool
        switch curve {
        case .cubic: (isGradual, isCubic) = (true, true)
        case .linear, .exponential: (isGradual, isCubic) = (true, false)
        case .oneshot, .iterative: (isGradual, isCubic) = (false, false)
        }
        let isPattern = structure == .ofEvery
        let isChannel = structure == .channel
        let rules: [(field: String, isUsed: Bool, needs: String)] = [
            ("block", structure == .block, "the structure block"),
            ("n", isPattern, "the structure n:m"), ("m", isPattern, "the structure n:m"),
            ("round_to", isChannel, "the structure channel"),
            ("min_channels", isChannel, "the structure channel"),
            ("constraint", isChannel, "the structure channel: zeros alone save nothing"),
            ("include_bias", structure == .unstructured, "the structure unstructured"),
            ("norm", criterion == .magnitude, "the criterion magnitude"),
            ("scope", !isPattern, "another structure than n:m, which is of each layer"),
            ("per_layer", !isPattern, "another structure than n:m, which is of each layer"),
            ("min_per_layer", !isPattern, "another structure than n:m"),
            ("max_per_layer", !isPattern, "another structure than n:m"),
            ("frequency", isGradual, "the schedule linear, cubic or exp"),
            ("power", isCubic, "the schedule cubic"),
            ("rounds", curve == .iterative, "the schedule iterative"),
            ("begin_step", curve != .iterative, "another schedule than iterative, which is behind train"),
            ("end_step", isGradual, "the schedule linear, cubic or exp"),
            ("rewind", !isGradual || rewind == .none, "the schedule oneshot or iterative"),
            ("finetune", rewind == .none, "the rewind none: else train comes again"),
            ("initial_sparsity", curve != .oneshot, "a schedule that is not oneshot"),
        ]
        for rule in rules where !rule.isUsed {
            reader.forget(rule.field)
            guard let value = reader.raw(rule.field), !value.isNull else { continue }
            reader.log.add(
                reader.pointer(to: rule.field), "invalid_value", "\(rule.field) needs \(rule.needs)")
        }
    }

    func complainOfContradictions(_ reader: ObjectReader) {
        func add(_ field: String, _ detail: String) {
            reader.log.add(reader.pointer(to: field), "invalid_value", detail)
        }
        if structure == .ofEvery {
            if keptOfGroup >= groupSize { add("n", "n must be below m, found \(keptOfGroup):\(groupSize)") }
            if curve != .oneshot { add("schedule", "n:m is pruned at once; the schedule is oneshot") }
        }
        if criterion == .bnScale, structure != .channel {
            add("criterion", "bn_scale ranks channels; the structure must be channel")
        }
        if criterion.isGathered, beginStep == 0 {
            add("begin_step", "\(criterion.rawValue) is gathered in training; begin_step must be at least 1")
        }
        if rewind != .none, beginStep != nil {
            add("begin_step", "with rewind, pruning stands behind train; leave begin_step out")
        }
        if let endStep, let beginStep, endStep < beginStep {
            add("end_step", "end_step \(endStep) is before begin_step \(beginStep)")
        }
        if minPerLayer > maxPerLayer {
            add("min_per_layer", "min_per_layer \(minPerLayer) is above max_per_layer \(maxPerLayer)")
        }
        if constraints.isEmpty, initialSparsity > targetSparsity {
            add("initial_sparsity", "\(initialSparsity) is above the target of \(targetSparsity)")
        }
        guard structure != .ofEvery, constraints.isEmpty else { return }
        if targetSparsity > maxPerLayer {
            add(
                "target_sparsity",
                "no layer may lose more than max_per_layer \(maxPerLayer), found \(targetSparsity)")
        }
        if scope == .layer, targetSparsity < minPerLayer {
            add("target_sparsity", "\(targetSparsity) is below min_per_layer \(minPerLayer)")
        }
    }
}
