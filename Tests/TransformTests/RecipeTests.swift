import Formats
import Foundation
import Testing

@testable import Storage
@testable import Transform

@Suite("Recipes")
struct RecipeTests {
  private func recipe(_ text: String, source: String? = "mine.json") throws -> Recipe {
    try Recipe(JSONDocument.parse(SharedBytes(text.utf8)), source: source)
  }

  @Test func everyMemberIsRead() throws {
    let recipe = try recipe(
      """
      {"schemaVersion": 1, "name": "mine", "bits": 2, "granularity": "group:32", "search": "free",
       "parameterType": "float16", "parts": 1, "buffers": [], "positionTables": "*table",
       "allowsUnmatchedPatterns": true,
       "rules": [
        {"match": "*embed*", "action": "keep", "reason": "a table"},
        {"match": ["*.qkv.weight", "*.kv.weight"],
         "where": {"rank": [2, 4], "minimumDimension": 16, "elementKind": "floating",
                   "rowMultiple": 3},
         "action": "quantize", "bits": 8, "granularity": "tensor", "search": "minmax",
         "parameterType": "float32", "parts": "qkv"},
        {"match": "*", "where": {"rank": 2}, "action": "quantize"}]}
      """)
    #expect(
      recipe
        == Recipe(
          name: "mine",
          defaults: QuantizationSettings(
            bitWidth: 2, granularity: .group(32), search: .free, parameterType: .float16),
          rules: [
            RecipeRule(match: [try NameGlob("*embed*")], action: .keep, reason: "a table"),
            RecipeRule(
              match: [try NameGlob("*.qkv.weight"), try NameGlob("*.kv.weight")],
              where: RecipeCondition(
                ranks: [2, 4], minimumDimension: 16, elementKind: .floating, rowMultiple: 3),
              action: .quantize(
                .init(
                  bitWidth: 8, granularity: .tensor, search: .minimumMaximum,
                  parameterType: .float32, parts: 3))),
            RecipeRule(
              match: [try NameGlob("*")], where: RecipeCondition(ranks: [2]),
              action: .quantize(.init())),
          ],
          buffers: [], positionTables: [try NameGlob("*table")], allowsUnmatchedPatterns: true))
    func decision(_ name: String, _ shape: Shape) -> Recipe.Decision {
      recipe.decision(on: RecipeSubject(name: name, elementType: .float32, shape: shape))
    }
    #expect(
      decision("a.qkv.weight", [48, 16])
        == .quantize(
          QuantizationSettings(
            bitWidth: 8, search: .minimumMaximum, parameterType: .float32, parts: 3)))
    // The condition does not hold, so the next rule decides, with the recipe's defaults.
    #expect(decision("a.qkv.weight", [47, 16]) == .quantize(recipe.defaults))
    #expect(decision("embed", [48, 16]) == .keep(reason: "a table"))
    #expect(decision("other", [48]) == .keep(reason: "no rule of the recipe matches it"))
  }

  @Test func conditionsRoundTrip() throws {
    let condition = RecipeCondition(
      ranks: [3], minimumChannels: 16, channelAxes: .last, elementKind: .narrow, hasBias: false,
      makesPixels: true, model: .convolutional)
    let rule = RecipeRule(
      match: [try NameGlob("*")], where: condition, action: .quantize(.init(parts: .firstAxis)))
    let recipe = Recipe(name: "mine", rules: [rule])
    #expect(try self.recipe(recipe.jsonValue.serialized()) == recipe)
  }

  private static let floats = RecipeSubject(name: "a", elementType: .float32, shape: [16, 8, 3, 3])

  @Test(arguments: [
    (RecipeCondition(minimumChannels: 8), floats, true),
    (RecipeCondition(minimumChannels: 9), floats, false),
    (RecipeCondition(minimumChannels: 4, channelAxes: .last), floats, false),
    (RecipeCondition(minimumChannels: 3, channelAxes: .last), floats, true),
    (RecipeCondition(hasBias: true), floats, false),
    (RecipeCondition(hasBias: false), floats, true),
    (RecipeCondition(makesPixels: true), floats, false),
    (RecipeCondition(model: .convolutional), floats, false),
    (RecipeCondition(elementKind: .narrow), floats, false),
    (
      RecipeCondition(elementKind: .narrow),
      RecipeSubject(name: "a", elementType: .float8E4M3FN, shape: [2, 2]), true
    ),
    (
      RecipeCondition(elementKind: .floating),
      RecipeSubject(name: "a", elementType: .float8E4M3FN, shape: [2, 2]), false
    ),
    (
      RecipeCondition(minimumChannels: 1),
      RecipeSubject(name: "a", elementType: .float32, shape: [4]), false
    ),
  ])
  func conditionsMatchSubjects(condition: RecipeCondition, subject: RecipeSubject, isMet: Bool) {
    #expect(condition.holds(for: subject) == isMet)
  }

  @Test func missingMembersHaveDefaults() throws {
    let recipe = try recipe(#"{"rules": []}"#)
    #expect(recipe == Recipe(name: "custom", rules: []))
    #expect(recipe.defaults == QuantizationSettings())
    #expect(recipe.method == MethodSettings(.nearest))
    #expect(try self.recipe(#"{"method": "nearest", "rules": []}"#) == recipe)
    #expect(recipe.buffers == Recipe.conventionalBuffers)
  }

  @Test(arguments: [nil, "tensor", "row", "group:16", "group:65536"] as [String?])
  func activationScalingRoundTrips(_ scaling: String?) throws {
    let member = scaling.map { #""activationScaling": "\#($0)","# } ?? ""
    for method in QuantizationMethod.allCases where method.quantizesActivations {
      let recipe = try recipe(#"{"method": "\#(method.rawValue)", \#(member) "rules": []}"#)
      let settings = recipe.method
      #expect(settings.activationScaling?.rawValue == scaling)
      #expect(settings.scaling.rawValue == scaling ?? (method == .best ? "group:16" : "tensor"))
      #expect(try self.recipe(recipe.jsonValue.serialized()) == recipe)
    }
  }

  /// CondiQuant conditions unless told otherwise, `best` only if asked to.
  @Test(
    arguments: [
      (#""method": "condiquant""#, .target(28)),
      (#""method": "condiquant", "conditions": false"#, nil),
      (#""method": "condiquant", "targetCondition": 10"#, .target(10)),
      (#""method": "best""#, nil),
      (#""method": "best", "conditions": true"#, .target(28)),
      (#""method": "best", "targetCondition": 10"#, .target(10)),
      (#""method": "best", "conditionPenalty": 0.5"#, .penalty(0.5)),
      (#""method": "2dquant""#, nil),
    ] as [(String, ConditionConstraint?)])
  func conditioningIsTheMethodsUnlessGiven(
    members: String, constraint: ConditionConstraint?
  ) throws {
    let recipe = try recipe("{\(members), \"rules\": []}")
    #expect(recipe.method.constraint == constraint)
    #expect(try self.recipe(recipe.jsonValue.serialized()) == recipe)
  }

  @Test(arguments: Recipe.builtInNames)
  func builtInRecipesRoundTrip(name: String) throws {
    let recipe = try Recipe.named(name)
    #expect(recipe.name == name)
    let text = recipe.jsonValue.serialized()
    #expect(try self.recipe(text) == recipe)
    #expect(try self.recipe(text).jsonValue == recipe.jsonValue)
  }

  @Test func unknownNameListsBuiltInRecipes() {
    let error = #expect(throws: ModelError.self) { try Recipe.named("corpus") }
    #expect(
      error?.description == """
        recipe 'corpus': there is no built-in recipe of this name, only body, body-linear, \
        body-linear-and-conv, all-linear, keep-all
        """)
  }

  @Test(arguments: [
    ("[]", "expected an object, found an empty list"),
    ("{}", "rules: expected a list of objects, found none"),
    (#"{"rules": {}}"#, "rules: expected a list of objects, found an object"),
    (
      #"{"rules": [], "bit": 4}"#,
      """
      unknown key 'bit'; known keys are schemaVersion, name, bits, granularity, search, \
      parameterType, parts, method, conditions, targetCondition, conditionPenalty, activationBits, \
      activationScaling, weightsOnly, calibration, distillation, budget, buffers, positionTables, \
      allowsUnmatchedPatterns, rules
      """
    ),
    (
      #"{"schemaVersion": 2, "rules": []}"#,
      "schemaVersion: expected 1, the version that this program knows, found 2"
    ),
    (#"{"bits": 0, "rules": []}"#, "bits: expected an integer from 1 to 8, found 0"),
    (#"{"bits": 9, "rules": []}"#, "bits: expected an integer from 1 to 8, found 9"),
    (#"{"bits": "4", "rules": []}"#, #"bits: expected an integer from 1 to 8, found "4""#),
    (#"{"bits": 4.0, "rules": []}"#, "bits: expected an integer from 1 to 8, found 4.0"),
    (
      #"{"granularity": "row", "rules": []}"#,
      #"granularity: expected "tensor", "channel" or "group:N", found "row""#
    ),
    (
      #"{"search": "best", "rules": []}"#,
      #"search: expected one of "minmax", "dobi", "dobi-one-sided", "free", "joint", found "best""#
    ),
    (
      #"{"buffers": [1], "rules": []}"#,
      "buffers: expected a name pattern or a list of them, found a list"
    ),
    (
      #"{"allowsUnmatchedPatterns": 1, "rules": []}"#,
      "allowsUnmatchedPatterns: expected true or false, found 1"
    ),
    (
      #"{"method": "best", "activationScaling": "column", "rules": []}"#,
      #"activationScaling: expected "tensor", "row" or "group:N", found "column""#
    ),
    (
      #"{"method": "best", "activationScaling": "group:1", "rules": []}"#,
      #"activationScaling: expected "tensor", "row" or "group:N", found "group:1""#
    ),
    (
      #"{"activationScaling": "row", "rules": []}"#,
      #"activationScaling: it needs a "method" other than "nearest""#
    ),
    (#"{"rules": ["*"]}"#, #"rules[0]: expected an object, found "*""#),
    (
      #"{"rules": [{"action": "keep"}]}"#,
      "rules[0].match: expected a name pattern or a list of them, found none"
    ),
    (
      #"{"rules": [{"match": [], "action": "keep"}]}"#,
      "rules[0].match: expected a name pattern or a list of them, found an empty list"
    ),
    (
      #"{"rules": [{"match": "[a", "action": "keep"}]}"#,
      "rules[0].match: '[' is not closed in the name pattern '[a'"
    ),
    (
      #"{"rules": [{"match": "*"}]}"#,
      #"rules[0].action: expected one of "keep", "quantize", found none"#
    ),
    (
      #"{"rules": [{"match": "*", "action": "drop"}]}"#,
      #"rules[0].action: expected one of "keep", "quantize", found "drop""#
    ),
    (
      #"{"rules": [{"match": "*", "action": "keep", "bits": 4}]}"#,
      "rules[0].bits: a rule that keeps tensors has no settings"
    ),
    (
      #"{"rules": [{"match": "*", "action": "quantize", "reason": "why"}]}"#,
      "rules[0].reason: it says why a rule keeps tensors, but this one quantizes"
    ),
    (
      #"{"rules": [{"match": "*", "action": "quantize", "parts": 0}]}"#,
      #"rules[0].parts: expected an integer of at least 1, "qkv" or "first axis", found 0"#
    ),
    (
      #"{"rules": [{"match": "*", "where": {"ranks": 2}, "action": "keep"}]}"#,
      """
      rules[0].where: unknown key 'ranks'; known keys are rank, minimumDimension, \
      minimumChannels, channelAxes, elementKind, rowMultiple, hasBias, makesPixels, model, \
      method
      """
    ),
    (
      #"{"rules": [], "calibration": {}}"#,
      #"calibration: it needs a "method" other than "nearest""#
    ),
    (
      #"{"rules": [], "method": "best", "calibration": {"sha256": "ab"}}"#,
      #"calibration.sha256: expected 64 hexadecimal digits, found "ab""#
    ),
    (
      #"{"rules": [], "method": "best", "calibration": {"seed": -1}}"#,
      "calibration.seed: expected an integer of at least 0, found -1"
    ),
    (
      #"{"rules": [], "method": "best", "distillation": 4}"#,
      "distillation: expected an object, found 4"
    ),
    (
      #"{"rules": [], "method": "best", "distillation": {"batch": 2}}"#,
      #"distillation.steps: either it or "minutes" is required"#
    ),
    (
      #"{"rules": [], "method": "best", "distillation": {"steps": 2, "minutes": 1}}"#,
      #"distillation.steps: either it or "minutes" is required"#
    ),
    (
      #"{"rules": [], "method": "best", "distillation": {"steps": 2, "rate": 1}}"#,
      """
      distillation: unknown key 'rate'; known keys are steps, minutes, seed, batch, patchSize, \
      patience, validationSHA256
      """
    ),
    (
      #"{"rules": [{"match": "*", "where": {"rank": []}, "action": "keep"}]}"#,
      "rules[0].where.rank: expected a rank or a list of ranks, found an empty list"
    ),
    (
      #"{"rules": [{"match": "*", "action": "keep"}, {"match": "*", "action": "keep", "x": 1}]}"#,
      """
      rules[1]: unknown key 'x'; known keys are match, where, action, reason, bits, leastBits, \
      granularity, search, parameterType, parts
      """
    ),
  ])
  func recipeMistakesAreLocated(text: String, message: String) throws {
    let error = #expect(throws: ModelError.self) { try recipe(text) }
    #expect(error?.path == "mine.json")
    #expect("\(try #require(error))" == "mine.json: \(message)")
  }

  @Test func calibrationAndDistillationRoundTrip() throws {
    let digest = String(repeating: "0a", count: 32)
    let recipe = try recipe(
      """
      {"method": "best", "calibration": {"patches": 5, "seed": 9, "sha256": "\(digest)"},
       "distillation": {"steps": 40, "batch": 2, "patchSize": 24, "seed": 3, "patience": 2,
                        "validationSHA256": "\(digest)"}, "rules": []}
      """)
    let method = recipe.method
    #expect(
      method.calibration
        == CalibrationRecipe(patches: .init(count: 5, side: 64, seed: 9), digest: digest))
    #expect(
      method.distillation
        == DistillationRecipe(
          limit: .steps(40), batchCount: 2, patchSide: 24, seed: 3, patience: 2,
          validationDigest: digest))
    #expect(try Recipe(recipe.jsonValue) == recipe)
    let others = try self.recipe(
      #"{"method": "dobi", "calibration": {}, "distillation": {"minutes": 1.5}, "rules": []}"#)
    #expect(others.method.calibration == CalibrationRecipe(patches: nil))
    #expect(others.method.distillation == DistillationRecipe(limit: .minutes(1.5)))
    #expect(try Recipe(others.jsonValue) == others)
  }

  @Test func recipeForOtherImagesIsRefused() throws {
    var calibration = CalibrationRecipe(patches: .init())
    try calibration.identify("aa", as: "images")
    #expect(calibration.digest == "aa")
    #expect(
      throws: ModelError("the recipe is for other images: their SHA-256 is aa, not bb")
    ) { try calibration.identify("bb", as: "images") }
  }

  /// The schema is for editors and other programs; the reader must know the same keys.
  @Test func schemaKeysMatchReader() throws {
    let path = URL(filePath: #filePath).deletingLastPathComponent().deletingLastPathComponent()
      .deletingLastPathComponent().appending(path: "schemas/recipe.schema.json").path()
    let file = try InputFile(path: path)
    let schema = try JSONDocument.parse(
      file.bytes(at: 0, count: file.byteCount, purpose: "the schema"))
    func keys(_ path: String...) -> String {
      var value = schema
      for key in path + ["properties"] {
        guard case .object(let members) = value, let member = members[key] else { return "none" }
        value = member
      }
      guard case .object(let members) = value else { return "none" }
      return members.keys.joined(separator: ", ")
    }
    func known(_ text: String) -> String {
      do {
        _ = try recipe(text)
        return "no error"
      } catch {
        return "\(error)".components(separatedBy: "known keys are ").last ?? ""
      }
    }
    #expect(keys() == known(#"{"rules": [], "?": 0}"#))
    #expect(
      keys("$defs", "rule") == known(#"{"rules": [{"match": "*", "action": "keep", "?": 0}]}"#))
    #expect(
      keys("$defs", "condition")
        == known(#"{"rules": [{"match": "*", "where": {"?": 0}, "action": "keep"}]}"#))
  }

  @Test func recipeFileIsRead() throws {
    let path = FileManager.default.temporaryDirectory
      .appending(path: "recipe-\(UUID().uuidString).json").path()
    defer { try? FileManager.default.removeItem(atPath: path) }
    try Data(#"{"name": "mine", "rules": []}"#.utf8).write(to: URL(filePath: path))
    #expect(try Recipe(contentsOf: path) == Recipe(name: "mine", rules: []))
    try Data(#"{"rules": [}"#.utf8).write(to: URL(filePath: path))
    let error = #expect(throws: ModelError.self) { try Recipe(contentsOf: path) }
    #expect(error?.path == path)
  }
}
