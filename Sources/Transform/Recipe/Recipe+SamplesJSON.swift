import Formats

/// The members of a recipe that say what a model is calibrated on and how it learns.
extension CalibrationRecipe {
  init(_ reader: inout JSONObjectReader) throws {
    let count = try reader.count("patches")
    let side = try reader.count("patchSize")
    let seed = try reader.seed()
    let isSmall = try reader.boolean("alreadySmall")
    let isPictures = count != nil || side != nil || seed != nil || isSmall != nil
    self.init(
      patches: isPictures
        ? Patches(
          count: count ?? Patches.standardCount, side: side ?? Patches.standardSide,
          seed: seed ?? 0, isSmall: isSmall ?? false) : nil, digest: try reader.digest("sha256"))
  }

  var jsonMembers: JSONValue.Members {
    var members: JSONValue.Members = [:]
    if let patches {
      members["patches"] = .integer(patches.count)
      members["patchSize"] = .integer(patches.side)
      members["seed"] = .integer(Int(clamping: patches.seed))
      members["alreadySmall"] = .boolean(patches.isSmall)
    }
    members["sha256"] = digest.map(JSONValue.string)
    return members
  }
}

extension DistillationRecipe {
  init(_ reader: inout JSONObjectReader) throws {
    let steps = try reader.integer("steps", in: 0...(.max), expected: "an integer of at least 0")
    let minutes = try reader.number("minutes", expected: "a number of at least 0") { $0 >= 0 }
    let limit: Limit
    switch (steps, minutes) {
    case (let steps?, nil): limit = .steps(steps)
    case (nil, let minutes?): limit = .minutes(minutes)
    default: throw reader.error(at: "steps", "there must be either it or \"minutes\"")
    }
    let seed = try reader.seed()
    self.init(
      limit: limit, batchCount: try reader.count("batch") ?? Self.standardBatchCount,
      patchSide: try reader.count("patchSize") ?? Self.standardPatchSide, seed: seed ?? 0,
      patience: try reader.count("patience"),
      validationDigest: try reader.digest("validationSHA256"))
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
  fileprivate mutating func count(_ key: String) throws -> Int? {
    try integer(key, in: 1...(.max), expected: "an integer of at least 1")
  }

  fileprivate mutating func seed() throws -> UInt64? {
    try integer("seed", in: 0...(.max), expected: "an integer of at least 0").map { UInt64($0) }
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
