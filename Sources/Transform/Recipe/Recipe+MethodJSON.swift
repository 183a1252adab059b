import Formats

extension Recipe {
  /// The members that say how the model is quantized as a whole.
  static func method(_ reader: inout JSONObjectReader) throws -> MethodSettings? {
    let method: QuantizationMethod? = try reader.choice("method")
    let conditions = try reader.boolean("conditions")
    let target = try reader.number(
      "targetCondition", expected: "a number of at least 1"
    ) { $0 >= 1 }
    let penalty = try reader.number(
      "conditionPenalty", expected: "a number of at least 0"
    ) { $0 >= 0 }
    let bitWidth = try reader.integer(
      "activationBits", in: 1...8, expected: "an integer from 1 to 8")
    let scaling = try reader.value(
      "activationScaling", expected: #""tensor", "row" or "group:N""#
    ) { value -> ActivationScaling? in
      guard case .string(let text) = value else { return nil }
      return ActivationScaling(rawValue: text)
    }
    let isWeightsOnly = try reader.boolean("weightsOnly")
    let calibration = try reader.object("calibration") { try CalibrationRecipe(&$0) }
    let distillation = try reader.object("distillation") { try DistillationRecipe(&$0) }
    guard let method else {
      let settings: [(key: String, isGiven: Bool)] = [
        ("targetCondition", target != nil), ("conditionPenalty", penalty != nil),
        ("activationBits", bitWidth != nil), ("conditions", conditions != nil),
        ("activationScaling", scaling != nil),
        ("weightsOnly", isWeightsOnly != nil), ("calibration", calibration != nil),
        ("distillation", distillation != nil),
      ]
      if let first = settings.first(where: \.isGiven) {
        throw reader.error(at: first.key, "it needs a \"method\"")
      }
      return nil
    }
    guard target == nil || penalty == nil else {
      throw reader.error(at: "conditionPenalty", "there is a \"targetCondition\" already")
    }
    let constraint =
      penalty.map(ConditionConstraint.penalty)
      ?? target.map(ConditionConstraint.target) ?? .standard
    return MethodSettings(
      method, constraint: conditions == false ? nil : constraint, activationBitWidth: bitWidth,
      activationScaling: scaling, isWeightsOnly: isWeightsOnly ?? false, calibration: calibration,
      distillation: distillation)
  }

  /// The budget that bit widths are chosen for: an object of one member.
  static func budget(_ reader: inout JSONObjectReader) throws -> SizeBudget? {
    try reader.value("budget", expected: "an object of one limit") { value in
      guard case .object(let members) = value, members.count == 1,
        let (key, limit) = members.elements.first
      else { return nil }
      let number: Double
      switch limit {
      case .integer(let integer): number = Double(integer)
      case .number(let real): number = real
      default: return nil
      }
      return SizeBudget(key: key, limit: number)
    }
  }
}

extension MethodSettings {
  var jsonMembers: JSONValue.Members {
    var members: JSONValue.Members = ["method": .string(method.rawValue)]
    if method.conditions {
      switch constraint {
      case .target(let target): members["targetCondition"] = .number(target)
      case .penalty(let weight): members["conditionPenalty"] = .number(weight)
      case nil: members["conditions"] = .boolean(false)
      }
    }
    members["activationBits"] = activationBitWidth.map(JSONValue.integer)
    members["activationScaling"] = activationScaling.map { .string($0.rawValue) }
    if isWeightsOnly { members["weightsOnly"] = .boolean(true) }
    members["calibration"] = calibration.map { .object($0.jsonMembers) }
    members["distillation"] = distillation.map { .object($0.jsonMembers) }
    return members
  }
}

extension SizeBudget {
  var jsonValue: JSONValue {
    switch self {
    case .byteCount(let count): .object(["bytes": .integer(count)])
    case .ratio(let ratio): .object(["parametersRatio": .number(ratio)])
    case .paperRatio(let ratio): .object(["paperRatio": .number(ratio)])
    case .bitsPerWeight(let bits): .object(["bitsPerWeight": .number(bits)])
    }
  }

  fileprivate init?(key: String, limit: Double) {
    guard limit.isFinite, limit > 0 else { return nil }
    switch key {
    case "bytes":
      guard let count = Int(exactly: limit) else { return nil }
      self = .byteCount(count)
    case "parametersRatio": self = .ratio(limit)
    case "paperRatio": self = .paperRatio(limit)
    case "bitsPerWeight": self = .bitsPerWeight(limit)
    default: return nil
    }
  }
}
