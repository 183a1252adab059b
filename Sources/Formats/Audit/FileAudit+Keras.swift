import OrderedCollections
import Storage

/// Keras configurations, which name classes to import and may hold code.
extension FileAudit {
  typealias JSONObject = OrderedDictionary<String, JSONValue>

  /// Keras classes that run or load what their configuration specifies.
  private static let kerasHazards = [
    "Lambda": "a Keras layer that runs the Python code it holds",
    "__lambda__": "Python code that Keras runs",
    "TorchModuleWrapper": "a Keras layer that unpickles a PyTorch module",
    "TFSMLayer": "a Keras layer that loads a TensorFlow SavedModel from a path",
    "FlaxLayer": "a Keras layer that loads a Flax module",
    "JaxLayer": "a Keras layer that calls a function of JAX",
  ]

  /// Keras functions that open files or URLs, and have no place in a model.
  private static let kerasFunctionHazards = [
    "get_file", "load_model", "load_weights", "model_from_json", "model_from_config", "load_img",
    "enable_unsafe_deserialization", "deserialize_keras_object", "extract_archive",
    "vectorize_call",
  ]

  /// Audits a configuration object from which Keras would make a class or function.
  mutating func auditKerasObject(_ members: JSONObject, place: String) {
    if let calls = members["py/reduce"] {
      addProgram(
        .configuredClass, nil, place: place, .dangerous,
        "what jsonpickle calls: \(calls.serialized().prefix(80))")
    }
    guard case .string(let name)? = members["class_name"],
      members["config"] != nil || members["module"] != nil
    else { return }
    if let hazard = Self.kerasHazards[name] {
      addProgram(.configuredClass, name, place: place, .dangerous, hazard)
      return
    }
    auditFiles(members["config"], of: name, place: place)
    guard case .string(let module)? = members["module"] else {
      // A class that a program registered itself: `package>Class`.
      if case .string(let registered)? = members["registered_name"], registered != name,
        registered.contains(">")
      {
        addProgram(
          .configuredClass, registered, place: place, .unknown,
          "a class that the program must provide")
      }
      return
    }
    var full = "\(module).\(name)"
    if name == "function", case .string(let function)? = members["config"] {
      full = "\(module).\(function)"
    }
    let parts = module.split(separator: ".")
    let isKeras =
      ["keras", "tf_keras", "keras_hub", "keras_nlp", "keras_cv"].contains(parts.first ?? "")
      || module.hasPrefix("tensorflow.keras") || module.hasPrefix("tensorflow.python.keras")
    if isKeras {
      guard Self.kerasFunctionHazards.contains(where: { full.hasSuffix(".\($0)") }) else { return }
      addProgram(
        .configuredClass, full, place: place, .dangerous, "a function of Keras that opens files")
      return
    }
    if module == "builtins", ["dict", "list", "tuple", "set", "float", "int", "str"].contains(name)
    {
      return
    }
    addConfiguredClass(
      full, place: place, "a class or function from outside Keras that Keras imports")
  }

  /// Audits the files, such as vocabularies, that a layer reads when the model is loaded.
  private mutating func auditFiles(_ config: JSONValue?, of name: String, place: String) {
    guard case .object(let config)? = config else { return }
    for key in ["vocabulary", "filepath", "saved_model_path"] {
      guard case .string(let path)? = config[key] else { continue }
      addProgram(
        .reference, path, place: place, .unknown,
        "a file that the layer '\(name)' opens when it is loaded")
    }
  }

  /// Searches an HDF5 file, which is not parsed, for the text of a Keras configuration.
  mutating func auditHDF5(_ content: Content) {
    guard content.bytes.firstRange(of: "HDF\r\n\u{1A}\n") != nil else { return }
    for quoted in ["\"class_name\": \"", "\"class_name\":\""] {
      for (name, hazard) in Self.kerasHazards.sorted(by: { $0.key < $1.key })
      where content.bytes.firstRange(of: "\(quoted)\(name)\"") != nil {
        addProgram(.configuredClass, name, place: content.place, .dangerous, hazard)
      }
    }
  }
}
