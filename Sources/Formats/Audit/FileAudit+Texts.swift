import FoundationEssentials
import Storage

/// Text files: configurations that name what to run, templates, and program sources.
extension FileAudit {
  mutating func auditText(_ text: TextContent, _ content: Content) {
    let place = content.place
    switch text.kind {
    case .json: auditJSON(content)
    case .source: auditSource(content)
    case .template: addTemplate(text.text, name: nil, place: place)
    case .plain, .markup: break
    }
    if text.kind == .plain { auditYAML(text.text, place: place) }
    // A text file by itself is not a model.
    if content.archive == nil { addUnrecognized(content) }
  }

  private mutating func auditSource(_ content: Content) {
    let place = content.place
    if let folder = content.archive?.scriptFolder, content.archive?.isPackage == false,
      place.hasPrefix(folder) || place.contains("/\(folder)")
    {
      // TorchScript's interpreter cannot import, but some of its operators open files.
      for call in ["torch.from_file(", "torch.save(", "aten.from_file(", "aten.save("]
      where content.bytes.firstRange(of: call) != nil {
        addProgram(
          .source, String(call.dropLast()), place: place, .dangerous,
          "a TorchScript program that reads or writes files")
      }
      return
    }
    let isPackage = content.archive?.isPackage ?? false
    addProgram(
      .source, place: place, isPackage ? .dangerous : .unknown,
      isPackage
        ? "Python code that torch.package runs when an object is loaded"
        : "source code, which a program may run")
  }

  /// Reports what YAML settings make Python load: Python's own tags, and the classes that Hydra
  /// makes.
  private mutating func auditYAML(_ text: String, place: String) {
    for line in text.split(whereSeparator: \.isNewline) {
      let words = line.split { $0.isWhitespace || $0 == "{" || $0 == "," || $0 == "}" }
      for (index, word) in words.enumerated() {
        if word.hasPrefix("!!python/") || word.hasPrefix("!<tag:yaml.org,2002:python/") {
          addProgram(
            .configuredClass, String(word), place: place, .dangerous,
            "a YAML tag that makes Python load or call it")
        } else if word == "_target_:", index + 1 < words.count {
          auditTarget(words[index + 1].filter { $0 != "'" && $0 != "\"" }, place: place)
        }
      }
    }
  }

  /// Reports a class or function that Hydra imports and calls.
  private mutating func auditTarget(_ name: String, place: String) {
    addConfiguredClass(name, place: place, "what Hydra imports and calls")
  }

  /// Reports a name that a program imports, unless it is known to be data.
  mutating func addConfiguredClass(_ name: String, place: String, _ knownFor: String) {
    let judgement = PickleGlobalJudgement(of: name)
    guard judgement.verdict != .allowed else { return }
    addProgram(
      .configuredClass, name, place: place, judgement.verdict,
      knownFor + (judgement.knownFor.map { ": it \($0)" } ?? ""))
  }

  // MARK: Templates

  /// Audits the chat templates in a model's metadata, such as GGUF's `tokenizer.chat_template`.
  mutating func auditTemplates(of archive: TensorArchive, place: String) {
    for (key, value) in archive.values where key.contains("chat_template") {
      if case .text(let text) = value { addTemplate(text, name: key, place: place) }
    }
    for (key, text) in archive.metadata where key.contains("chat_template") {
      addTemplate(text, name: key, place: place)
    }
  }

  /// Attributes and names by which a template escapes its sandbox.
  private static let templateHazards = [
    "__class__", "__globals__", "__builtins__", "__import__", "__subclasses__", "__mro__",
    "__base__", "__bases__", "__init__", "__dict__", "__getattribute__", "__reduce__", "|attr",
    "| attr", "lipsum", "cycler.", "joiner.", "popen", "os.system", "subprocess",
  ]

  private mutating func addTemplate(_ text: String, name: String?, place: String) {
    // The name of a template, or text without instructions, runs nothing.
    guard text.contains("{{") || text.contains("{%") else { return }
    let hazard = Self.templateHazards.first { text.contains($0) }
    addProgram(
      .template, name, place: place, hazard == nil ? .unknown : .dangerous,
      hazard.map {
        "a Jinja template that uses '\($0)', which gives access to Python"
      } ?? "a Jinja template, a program that is run for each conversation")
  }

  // MARK: JSON

  private mutating func auditJSON(_ content: Content) {
    do {
      let value = try JSONDocument.parse(content.bytes, baseOffset: content.baseOffset)
      auditJSON(value, content, place: content.place)
    } catch {
      addProblem(error, place: content.place)
    }
  }

  private mutating func auditJSON(_ value: JSONValue, _ content: Content, place: String) {
    switch value {
    case .array(let items):
      for item in items { auditJSON(item, content, place: place) }
    case .object(let members):
      auditKerasObject(members, place: place)
      // skops stores scikit-learn objects in this form.
      if case .string(let module)? = members["__module__"],
        case .string(let name)? = members["__class__"]
      {
        addConfiguredClass("\(module).\(name)", place: place, "a class that skops imports")
      }
      collectPlainMembers(members, content)
      for (key, member) in members {
        if case .string(let text) = member {
          auditJSONText(text, key: key, content, place: place)
        } else {
          let isNamed = if case .object = member { true } else { false }
          auditJSON(member, content, place: isNamed ? Self.join(place, key) : place)
        }
      }
    default: break
    }
  }

  private mutating func auditJSONText(
    _ text: String, key: String, _ content: Content, place: String
  ) {
    switch key {
    case ":serialized:":
      // stable-baselines3 stores what JSON cannot hold as base64 cloudpickle.
      guard let data = Data(base64Encoded: text, options: .ignoreUnknownCharacters) else {
        addProblem("':serialized:' is not base64", place: place)
        return
      }
      auditPickles(SharedBytes(data), baseOffset: 0, place: place, depth: content.depth + 1)
    case "py/object", "py/type", "py/function", "py/class", "py/repr", "py/mod", "py/newargs":
      addConfiguredClass(text, place: place, "what jsonpickle imports and calls")
    case "_target_": auditTarget(text, place: place)
    default:
      if key.contains("chat_template") || key == "template" {
        addTemplate(text, name: key, place: place)
      } else if text.hasPrefix("gA"), let data = Data(base64Encoded: text),
        data.first == PickleOpcode.proto.rawValue
      {
        // A pickle in base64, whichever program reads it.
        auditPickles(
          SharedBytes(data), baseOffset: 0, place: Self.join(place, key), depth: content.depth + 1)
      }
    }
  }

  /// Collects the members that torch.export's index declares to be the bytes of a tensor and
  /// nothing else.
  private mutating func collectPlainMembers(_ members: JSONObject, _ content: Content) {
    guard let folder = Self.folder(of: content.place, endingIn: "_config.json"),
      case .object(let entries)? = members["config"]
    else { return }
    for entry in entries.values {
      guard case .object(let entry) = entry, case .string(let name)? = entry["path_name"],
        entry["use_pickle"] == .boolean(false)
      else { continue }
      plainMembers.insert(folder + name)
    }
  }

  /// Returns the folder of the member `place`, with its slash, within the innermost archive.
  private static func folder(of place: String, endingIn suffix: String) -> String? {
    guard place.hasSuffix(suffix), let slash = place.lastIndex(of: "/") else { return nil }
    return String(place[...slash])
  }
}
