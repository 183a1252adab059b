import ArgumentParser

@main
struct CondiConvert: ParsableCommand {
  static let configuration = CommandConfiguration(commandName: "condi-convert")
}
