internal import JSON

/// The JSON fields of `train.lr_schedule`.
enum ScheduleFields {
    static let name = Field.choice(
        "name", of: TrainOptions.ScheduleName.self, default: .constant, "The learning rate's curve.")
    static let warmupSteps = Field.integer(
        "warmup_steps", default: 0, in: 0...100_000_000, "Steps over which the rate rises to lr.")
    static let minRatio = Field.number(
        "min_lr_ratio", default: 0, in: 0...1,
        "Where linear, cosine and warmup_stable_decay end, as a part of lr.")
    static let stepSize = Field.integer(
        "step_size", default: 1, in: 1...100_000,
        "Epochs between the drops of step, or over which exponential falls by gamma.")
    static let gamma = Field.number(
        "gamma", default: 0.1, in: 0...1, "Factor of each drop of step, and of exponential.")
    static let rise = Field.number(
        "pct_start", default: 0.3, in: 0...1, "Part of the steps in which one_cycle rises.")
    static let startDivisor = Field.number(
        "div_factor", default: 25, in: 1...1e9, "one_cycle starts at lr / div_factor.")
    static let endDivisor = Field.number(
        "final_div_factor", default: 1e4, in: 1...1e12, "one_cycle ends at its start / final_div_factor.")
    static let fall = Field.number(
        "decay_fraction", default: 0.2, in: 0...1, "Part of the steps in which warmup_stable_decay falls.")
    static let schema = ObjectSchema(
        "lr_schedule", "The learning rate's curve.",
        fields: [
            name, warmupSteps, minRatio, stepSize, gamma, rise, startDivisor, endDivisor, fall,
        ])
    static let object = Field.object("lr_schedule", schema, "The learning rate's curve.")
}

extension TrainOptions.ScheduleName: FieldOwner {
    var fields: Set<String> {
        switch self {
        case .constant: []
        case .step, .exponential: ["step_size", "gamma"]
        case .linear, .cosine: ["min_lr_ratio"]
        case .oneCycle: ["pct_start", "div_factor", "final_div_factor"]
        case .warmupStableDecay: ["decay_fraction", "min_lr_ratio"]
        }
    }
}

extension TrainOptions {
    mutating func readSchedule(_ reader: inout ObjectReader) {
        schedule = reader.read(ScheduleFields.name)
        schedule.refuseFieldsOfOthers(in: reader, choice: ScheduleFields.name)
        warmupSteps = reader.read(ScheduleFields.warmupSteps)
        if schedule.takes(ScheduleFields.minRatio) { minRatio = reader.read(ScheduleFields.minRatio) }
        if schedule.takes(ScheduleFields.gamma) {
            stepSize = reader.read(ScheduleFields.stepSize)
            gamma = reader.read(ScheduleFields.gamma)
        }
        if schedule.takes(ScheduleFields.rise) {
            riseFraction = reader.read(ScheduleFields.rise)
            startDivisor = reader.read(ScheduleFields.startDivisor)
            endDivisor = reader.read(ScheduleFields.endDivisor)
        }
        if schedule.takes(ScheduleFields.fall) { fallFraction = reader.read(ScheduleFields.fall) }
    }
}
