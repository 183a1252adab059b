import Formats
import Foundation
import OrderedCollections
import Transform

/// What a user asked for: from which model, to which file, how.
///
/// Two runs whose requests and input files are the same write the same bytes, so that one can go on
/// where the other stopped.
package struct ConversionRequest: Hashable, Sendable {
  /// Absolute path of the model.
  package let input: String
  /// Absolute path of the file to be written.
  package let output: String
  /// The part of a nested checkpoint that was asked for; `nil` for the conventional one, or all.
  package let root: String?
  /// Name of the output's format.
  package let format: String
  /// How weights are quantized; `nil` where every bit is kept.
  package let recipe: JSONValue?
  /// The program, whose other versions may write other bytes.
  package let producer: String

  /// - Parameters:
  ///   - input, output: paths, which are taken from the working folder where they are relative.
  package init(input: String, output: String, root: String?, format: String, recipe: Recipe?) {
    self.input = Self.absolute(input)
    self.output = Self.absolute(output)
    self.root = root
    self.format = format
    self.recipe = recipe?.jsonValue
    producer = Producer.current
  }

  /// Whether the output is a packed file.
  package var isPacked: Bool { format == PackedFormat.identifier.name }

  private static func absolute(_ path: String) -> String {
    path.hasPrefix("/") ? path : "\(FileManager.default.currentDirectoryPath)/\(path)"
  }
}

extension ConversionRequest {
  init(parsing json: JSONValue) throws {
    var members = try JSONMembers(json, subject: "the plan's 'request'")
    input = try members.require("input", members.takeString("input"))
    output = try members.require("output", members.takeString("output"))
    root = try members.takeString("root")
    format = try members.require("format", members.takeString("format"))
    recipe = members.take("recipe")
    producer = try members.require("producer", members.takeString("producer"))
    guard isPacked == (recipe != nil) else {
      throw FormatError.malformed("the plan's format and recipe do not go together")
    }
  }

  var json: JSONValue {
    var members: OrderedDictionary<String, JSONValue> = [
      "input": .string(input), "output": .string(output),
    ]
    members["root"] = root.map(JSONValue.string)
    members["format"] = .string(format)
    members["recipe"] = recipe
    members["producer"] = .string(producer)
    return .object(members)
  }
}
