public import JSON

extension PruneOptions {
    /// Reads the fields of `prune`; what is wrong with them is in the reader's log.
    public static func read(_ reader: inout ObjectReader) -> PruneOptions {
        var options = PruneOptions()
        options.structure = reader.read(PruneFields.structure)
        let block = reader.read(PruneFields.block)
        (options.blockRows, options.blockColumns) = (block.first, block.second)
        options.keptOfGroup = reader.read(PruneFields.kept)
        options.groupSize = reader.read(PruneFields.group)
        options.criterion = reader.read(PruneFields.criterion)
        options.norm = reader.read(PruneFields.norm)
        options.scope = reader.read(PruneFields.scope)
        options.constraints = reader.readObject(PruneFields.constraint) { readConstraints(&$0) } ?? []
        options.readSchedule(&reader)
        options.rewind = readRewind(&reader)
        options.perLayer = readPerLayer(&reader)
        options.exclude = reader.read(PruneFields.exclude)
        options.minPerLayer = reader.read(PruneFields.minPerLayer)
        options.maxPerLayer = reader.read(PruneFields.maxPerLayer)
        options.roundTo = reader.read(PruneFields.roundTo)
        options.minChannels = reader.read(PruneFields.minChannels)
        options.shrinks = reader.read(PruneFields.shrinks)
        options.includesBias = reader.read(PruneFields.includesBias)
        options.readFineTuning(&reader)
        options.readTarget(&reader)
        options.complainOfIdleFields(&reader)
        options.complainOfContradictions(reader)
        return options
    }

    /// With `rewind`, training itself is what follows a pruning.
    private mutating func readFineTuning(_ reader: inout ObjectReader) {
        let isRewound = rewind != .none
        _ = reader.readObject(PruneFields.fineTuning, assumesEmpty: !isRewound) { nested in
            fineTuning.epochs = nested.read(PruneFields.epochs)
            fineTuning.rateFactor = nested.read(PruneFields.rateFactor)
        }
    }

    private mutating func readSchedule(_ reader: inout ObjectReader) {
        let name = reader.read(PruneFields.curve)
        initialSparsity = reader.read(PruneFields.initial)
        beginStep = reader.read(PruneFields.beginStep)
        endStep = reader.read(PruneFields.endStep)
        frequency = reader.read(PruneFields.frequency)
        let power = reader.read(PruneFields.power)
        rounds = reader.read(PruneFields.rounds)
        curve =
            switch name {
            case .oneshot: .oneshot
            case .linear: .linear
            case .cubic: .cubic(power: power)
            case .exp: .exponential
            case .iterative: .iterative
            }
    }

    /// What n:m leaves is its target.
    private mutating func readTarget(_ reader: inout ObjectReader) {
        targetSparsity = reader.read(PruneFields.target)
        let isGiven = reader.contains(PruneFields.target.name)
        if structure == .ofEvery, keptOfGroup < groupSize {
            let pattern = Double(groupSize - keptOfGroup) / Double(groupSize)
            if isGiven, abs(targetSparsity - pattern) > 1e-9 {
                reader.log.add(
                    reader.pointer(to: "target_sparsity"), "invalid_value",
                    "\(keptOfGroup):\(groupSize) is a sparsity of \(pattern), found \(targetSparsity)")
            }
            targetSparsity = pattern
            reader.resolve("target_sparsity", as: .number(pattern))
        }
        guard !constraints.isEmpty else { return }
        if isGiven {
            reader.log.add(
                reader.pointer(to: "target_sparsity"), "invalid_value",
                "the constraint decides how much goes; leave target_sparsity out")
        }
        reader.forget("target_sparsity")
    }

    private static func readConstraints(_ reader: inout ObjectReader) -> [Constraint] {
        let fields: [(Constraint.Metric, Field<JSONValue>)] = [
            (.macs, PruneFields.macs), (.params, PruneFields.params), (.bytes, PruneFields.bytes),
            (.latencyMilliseconds, PruneFields.latency),
        ]
        let before = reader.log.violations.count
        var constraints: [Constraint] = []
        for (metric, field) in fields {
            let value = reader.read(field)
            guard !value.isNull else { continue }
            if let limit = Constraint.Limit(value) {
                constraints.append(Constraint(metric, limit))
            } else {
                reader.log.add(
                    reader.pointer(to: field.name), "invalid_value",
                    "expected a number above 0 or a part such as \"50%\", found \(value.summary)")
            }
        }
        if constraints.isEmpty, reader.log.violations.count == before {
            reader.log.add(
                reader.pointer, "missing_field", "one of macs, params, bytes, latency_ms is required")
        }
        return constraints
    }

    private static func readRewind(_ reader: inout ObjectReader) -> Rewind {
        let value = reader.read(PruneFields.rewind)
        switch value.stringValue {
        case "none": return .none
        case "init": return .initial
        case "lr": return .learningRate
        case let text?:
            let digits = text.dropFirst("step:".count)
            if text.hasPrefix("step:"), digits.utf8.count <= 9,
                digits.utf8.allSatisfy({ (UInt8(ascii: "0")...UInt8(ascii: "9")).contains($0) }),
                let step = Int(digits)
            {
                return .step(step)
            }
        case nil: break
        }
        reader.log.add(
            reader.pointer(to: "rewind"), value.stringValue == nil ? "wrong_type" : "invalid_value",
            "expected \"none\", \"init\", \"lr\" or \"step:N\", found \(value.summary)")
        return .none
    }

    private static func readPerLayer(_ reader: inout ObjectReader) -> [String: Double] {
        let value = reader.read(PruneFields.perLayer)
        let place = reader.pointer(to: "per_layer")
        if value.isNull { return [:] }
        guard let object = value.objectValue else {
            reader.log.add(place, "wrong_type", "expected an object, found \(value.summary)")
            return [:]
        }
        guard object.count <= 4096 else {
            reader.log.add(place, "out_of_range", "expected at most 4096 members, found \(object.count)")
            return [:]
        }
        var targets: [String: Double] = [:]
        for (name, value) in object.members {
            if let target = value.doubleValue, target >= 0, target < 1 {
                targets[name] = target
            } else {
                reader.log.add(
                    JSONPointer.member(name, of: place),
                    value.doubleValue == nil ? "wrong_type" : "out_of_range",
                    "expected a number from 0 to below 1, found \(value.summary)")
            }
        }
        return targets
    }
}

extension PruneOptions.Constraint.Limit {
    /// A number above 0, or text such as `50%`; nil for anything else.
    init?(_ value: JSONValue) {
        if let number = value.doubleValue {
            guard number > 0, number.isFinite else { return nil }
            self = .absolute(number)
            return
        }
        guard let text = value.stringValue, text.hasSuffix("%"), text.utf8.count <= 32 else { return nil }
        let digits = text.dropLast()
        let isPlain = digits.utf8.allSatisfy {
            (UInt8(ascii: "0")...UInt8(ascii: "9")).contains($0) || $0 == UInt8(ascii: ".")
        }
        guard isPlain, let percent = Double(digits), percent > 0, percent <= 100 else { return nil }
        self = .fraction(percent / 100)
    }
}
