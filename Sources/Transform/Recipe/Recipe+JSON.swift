import Formats
import OrderedCollections
import Storage

extension JSONValue {
  typealias Members = OrderedDictionary<String, JSONValue>
}

extension Recipe {
  /// The version of `schemas/recipe.schema.json` that this program reads and writes.
  package static let schemaVersion = 1

  /// The length in bytes of the longest recipe that is read.
  private static let fileLimit = 1 << 20

  /// Reads a recipe file.
  ///
  /// - Throws: `ModelError` when the file cannot be read, is not JSON or is not a recipe.
  public init(contentsOf path: String) throws {
    let file = try InputFile(path: path)
    guard file.byteCount <= Self.fileLimit else {
      throw ModelError(
        .limitExceeded(
          what: "a recipe in bytes", limit: Self.fileLimit, found: "\(file.byteCount)"),
        path: path)
    }
    let json = try locatingErrors(path: path) {
      try JSONDocument.parse(file.bytes(at: 0, count: file.byteCount, purpose: "a recipe"))
    }
    try self.init(json, source: path)
  }

  /// Creates the recipe that `json` describes, as in `schemas/recipe.schema.json`.
  ///
  /// - Parameter source: the file's path for errors, which is not part of the recipe.
  /// - Throws: `ModelError` that names the key and what was expected there.
  public init(_ json: JSONValue, source: String? = nil) throws {
    self = try locatingErrors(path: source) { try Recipe(parsing: json) }
  }

  private init(parsing json: JSONValue) throws {
    var reader = try JSONObjectReader(json)
    _ = try reader.integer(
      "schemaVersion", in: Self.schemaVersion...Self.schemaVersion,
      expected: "\(Self.schemaVersion), the version that this program knows")
    let name = try reader.string("name")
    let overrides = try Self.overrides(&reader, ofRule: false)
    let method = try Self.method(&reader)
    let budget = try Self.budget(&reader)
    let buffers = try reader.globs("buffers", allowsNone: true)
    let positionTables = try reader.globs("positionTables", allowsNone: true)
    let allowsUnmatched = try reader.boolean("allowsUnmatchedPatterns")
    let rules = try reader.require("rules", reader.objects("rules") { try Self.rule(&$0) })
    try reader.finish()
    self.init(
      name: name ?? "custom",
      defaults: overrides.applied(
        to: QuantizationSettings(search: method.method.search)),
      rules: rules,
      buffers: buffers ?? Self.conventionalBuffers,
      positionTables: positionTables ?? Self.conventionalPositionTables,
      allowsUnmatchedPatterns: allowsUnmatched ?? false, method: method, budget: budget)
  }

  /// The complete recipe, including defaults, as kept in a packed file's header. Reading it gives
  /// an equal recipe.
  public var jsonValue: JSONValue {
    var members: JSONValue.Members = [
      "schemaVersion": .integer(Self.schemaVersion), "name": .string(name),
    ]
    let settings = RecipeRule.Overrides(
      bitWidth: defaults.bitWidth, granularity: defaults.granularity, search: defaults.search,
      parameterType: defaults.parameterType, parts: defaults.parts)
    members.merge(settings.jsonMembers) { $1 }
    members.merge(method.jsonMembers) { $1 }
    if let budget { members["budget"] = budget.jsonValue }
    members["buffers"] = .array(buffers.map { .string($0.pattern) })
    members["positionTables"] = .array(positionTables.map { .string($0.pattern) })
    members["allowsUnmatchedPatterns"] = .boolean(allowsUnmatchedPatterns)
    members["rules"] = .array(rules.map(\.jsonValue))
    return .object(members)
  }

  private static func rule(_ reader: inout JSONObjectReader) throws -> RecipeRule {
    let match = try reader.require("match", reader.globs("match"))
    let condition = try reader.object("where") { try Self.condition(&$0) }
    let action: ActionName = try reader.require("action", reader.choice("action"))
    let reason = try reader.string("reason")
    let overrides = try overrides(&reader, ofRule: true)
    try reader.finish()
    if action == .keep, let key = overrides.jsonMembers.keys.first {
      throw reader.error(at: key, "a rule that keeps tensors has no settings")
    }
    if action == .quantize, reason != nil {
      throw reader.error(at: "reason", "it says why a rule keeps tensors, but this one quantizes")
    }
    return RecipeRule(
      match: match, where: condition ?? RecipeCondition(),
      action: action == .keep ? .keep : .quantize(overrides), reason: reason)
  }

  private enum ActionName: String, CaseIterable { case keep, quantize }

  private static func condition(_ reader: inout JSONObjectReader) throws -> RecipeCondition {
    let ranks = try reader.value("rank", expected: "a rank or a list of ranks") {
      value -> [Int]? in
      let items = if case .array(let items) = value { items } else { [value] }
      let ranks = items.compactMap { item -> Int? in
        guard case .integer(let rank) = item, rank >= 0 else { return nil }
        return rank
      }
      return ranks.count == items.count && !ranks.isEmpty ? ranks : nil
    }
    let condition = RecipeCondition(
      ranks: ranks,
      minimumDimension: try reader.positiveInteger("minimumDimension"),
      minimumChannels: try reader.positiveInteger("minimumChannels"),
      channelAxes: try reader.choice("channelAxes") ?? .first,
      elementKind: try reader.choice("elementKind"),
      rowMultiple: try reader.positiveInteger("rowMultiple"),
      hasBias: try reader.boolean("hasBias"),
      makesPixels: try reader.boolean("makesPixels"),
      model: try reader.choice("model"),
      method: try reader.choice("method"))
    try reader.finish()
    return condition
  }

  /// Reads the settings that are common to the top level of a recipe and its rules.
  private static func overrides(
    _ reader: inout JSONObjectReader, ofRule: Bool
  ) throws -> RecipeRule.Overrides {
    RecipeRule.Overrides(
      bitWidth: try reader.integer("bits", in: 1...8),
      leastBitWidth: ofRule ? try reader.integer("leastBits", in: 1...8) : nil,
      granularity: try reader.value(
        "granularity", expected: "\"tensor\", \"channel\" or \"group:N\""
      ) { value in
        guard case .string(let text) = value else { return nil }
        return QuantizationGranularity(text)
      },
      search: try reader.choice("search"),
      parameterType: try reader.choice("parameterType"),
      parts: try reader.value(
        "parts", expected: "an integer of at least 1, \"qkv\" or \"first axis\""
      ) { value in
        switch value {
        case .integer(let parts) where parts >= 1: .count(parts)
        case .string("qkv"): 3
        case .string("first axis"): .firstAxis
        default: nil
        }
      })
  }
}

extension RecipeRule {
  fileprivate var jsonValue: JSONValue {
    var members: JSONValue.Members = ["match": .array(match.map { .string($0.pattern) })]
    if condition != RecipeCondition() { members["where"] = condition.jsonValue }
    switch action {
    case .keep:
      members["action"] = .string("keep")
      members["reason"] = reason.map(JSONValue.string)
    case .quantize(let overrides):
      members["action"] = .string("quantize")
      members.merge(overrides.jsonMembers) { $1 }
    }
    return .object(members)
  }
}

extension RecipeRule.Overrides {
  fileprivate var jsonMembers: JSONValue.Members {
    var members: JSONValue.Members = [:]
    members["bits"] = bitWidth.map(JSONValue.integer)
    members["leastBits"] = leastBitWidth.map(JSONValue.integer)
    members["granularity"] = granularity.map { .string("\($0)") }
    members["search"] = search.map { .string($0.rawValue) }
    members["parameterType"] = parameterType.map { .string($0.rawValue) }
    members["parts"] = parts.map { parts in
      switch parts {
      case .count(let count): .integer(count)
      case .firstAxis: .string("first axis")
      }
    }
    return members
  }
}

extension RecipeCondition {
  fileprivate var jsonValue: JSONValue {
    var members: JSONValue.Members = [:]
    members["rank"] = ranks.map { .array($0.map(JSONValue.integer)) }
    members["minimumDimension"] = minimumDimension.map(JSONValue.integer)
    members["minimumChannels"] = minimumChannels.map(JSONValue.integer)
    if channelAxes != .first { members["channelAxes"] = .string(channelAxes.rawValue) }
    members["elementKind"] = elementKind.map { .string($0.rawValue) }
    members["rowMultiple"] = rowMultiple.map(JSONValue.integer)
    members["hasBias"] = hasBias.map(JSONValue.boolean)
    members["makesPixels"] = makesPixels.map(JSONValue.boolean)
    members["model"] = model.map { .string($0.rawValue) }
    members["method"] = method.map { .string($0.rawValue) }
    return .object(members)
  }
}

extension Recipe {
  /// Reads the members that describe how the whole model is quantized.
  static func method(_ reader: inout JSONObjectReader) throws -> MethodSettings {
    let method: QuantizationMethod = try reader.choice("method") ?? .nearest
    let conditions = try reader.boolean("conditions")
    let target = try reader.number("targetCondition", atLeast: 1)
    let penalty = try reader.number("conditionPenalty", atLeast: 0)
    let bitWidth = try reader.integer(
      "activationBits", in: 1...8)
    let scaling = try reader.value(
      "activationScaling", expected: #""tensor", "row" or "group:N""#
    ) { value -> ActivationScaling? in
      guard case .string(let text) = value else { return nil }
      return ActivationScaling(rawValue: text)
    }
    let isWeightsOnly = try reader.boolean("weightsOnly")
    let calibration = try reader.object("calibration") { try CalibrationRecipe(&$0) }
    let distillation = try reader.object("distillation") { try DistillationRecipe(&$0) }
    guard method != .nearest else {
      let settings: [(key: String, isGiven: Bool)] = [
        ("targetCondition", target != nil), ("conditionPenalty", penalty != nil),
        ("activationBits", bitWidth != nil), ("conditions", conditions != nil),
        ("activationScaling", scaling != nil),
        ("weightsOnly", isWeightsOnly != nil), ("calibration", calibration != nil),
        ("distillation", distillation != nil),
      ]
      if let first = settings.first(where: \.isGiven) {
        throw reader.error(at: first.key, "it needs a \"method\" other than \"nearest\"")
      }
      return MethodSettings(method)
    }
    guard target == nil || penalty == nil else {
      throw reader.error(at: "conditionPenalty", "there is already a \"targetCondition\"")
    }
    var settings = MethodSettings(
      method, activationBitWidth: bitWidth, activationScaling: scaling,
      isWeightsOnly: isWeightsOnly ?? false, calibration: calibration, distillation: distillation)
    let constraint =
      penalty.map(ConditionConstraint.penalty) ?? target.map(ConditionConstraint.target)
    switch conditions {
    case true: settings.constraint = constraint ?? .standard
    case false: settings.constraint = nil
    case nil: settings.constraint = constraint ?? method.constraint
    }
    return settings
  }

  /// Reads the budget for which bit widths are chosen: an object with one member.
  static func budget(_ reader: inout JSONObjectReader) throws -> SizeBudget? {
    try reader.value("budget", expected: "an object with one limit") { value in
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
    // Left out, the method is this one: so packed files have always said it.
    guard method != .nearest else { return [:] }
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

// The members of a recipe that describe calibration and distillation.
extension CalibrationRecipe {
  init(_ reader: inout JSONObjectReader) throws {
    let count = try reader.positiveInteger("patches")
    let side = try reader.positiveInteger("patchSize")
    let seed = try reader.seed()
    let isLowResolution = try reader.boolean("alreadySmall")
    let hasPatches = count != nil || side != nil || seed != nil || isLowResolution != nil
    self.init(
      patches: hasPatches
        ? Patches(
          count: count ?? Patches.standardCount, side: side ?? Patches.standardSide,
          seed: seed ?? 0, isLowResolution: isLowResolution ?? false) : nil,
      digest: try reader.digest("sha256"))
    try reader.finish()
  }

  var jsonMembers: JSONValue.Members {
    var members: JSONValue.Members = [:]
    if let patches {
      members["patches"] = .integer(patches.count)
      members["patchSize"] = .integer(patches.side)
      members["seed"] = .integer(Int(clamping: patches.seed))
      members["alreadySmall"] = .boolean(patches.isLowResolution)
    }
    members["sha256"] = digest.map(JSONValue.string)
    return members
  }
}

extension DistillationRecipe {
  init(_ reader: inout JSONObjectReader) throws {
    let steps = try reader.count("steps")
    let minutes = try reader.number("minutes", atLeast: 0)
    let limit: Limit
    switch (steps, minutes) {
    case (let steps?, nil): limit = .steps(steps)
    case (nil, let minutes?): limit = .minutes(minutes)
    default: throw reader.error(at: "steps", "either it or \"minutes\" is required")
    }
    let seed = try reader.seed()
    self.init(
      limit: limit, batchCount: try reader.positiveInteger("batch") ?? Self.standardBatchCount,
      patchSide: try reader.positiveInteger("patchSize") ?? Self.standardPatchSide, seed: seed ?? 0,
      patience: try reader.positiveInteger("patience"),
      validationDigest: try reader.digest("validationSHA256"))
    try reader.finish()
  }

  var jsonMembers: JSONValue.Members {
    var members: JSONValue.Members = [:]
    switch limit {
    case .steps(let count): members["steps"] = .integer(count)
    case .minutes(let minutes): members["minutes"] = .number(minutes)
    }
    members["batch"] = .integer(batchCount)
    members["patchSize"] = .integer(patchSide)
    members["seed"] = .integer(Int(clamping: seed))
    members["patience"] = patience.map(JSONValue.integer)
    members["validationSHA256"] = validationDigest.map(JSONValue.string)
    return members
  }
}

extension JSONObjectReader {
  fileprivate mutating func positiveInteger(_ key: String) throws -> Int? {
    try integer(key, in: 1...(.max))
  }

  fileprivate mutating func seed() throws -> UInt64? {
    try count("seed").map { UInt64($0) }
  }

  /// Reads a pattern or a list of at least one, or of none if that is allowed.
  fileprivate mutating func globs(_ key: String, allowsNone: Bool = false) throws -> [NameGlob]? {
    let patterns: [String]? = try value(key, expected: "a name pattern or a list of them") {
      switch $0 {
      case .string(let pattern): return [pattern]
      case .array(let items):
        let texts = items.compactMap { item -> String? in
          guard case .string(let pattern) = item else { return nil }
          return pattern
        }
        return texts.count == items.count && (allowsNone || !texts.isEmpty) ? texts : nil
      default: return nil
      }
    }
    return try patterns?.map { pattern in
      do {
        return try NameGlob(pattern)
      } catch let failure as ModelError {
        throw error(at: key, "\(failure)")
      }
    }
  }

  fileprivate mutating func digest(_ key: String) throws -> String? {
    try value(key, expected: "64 hexadecimal digits") { value in
      guard case .string(let text) = value, text.utf8.count == 64,
        text.allSatisfy({ "0123456789abcdef".contains($0) })
      else { return nil }
      return text
    }
  }
}
