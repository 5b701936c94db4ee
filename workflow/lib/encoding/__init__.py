"""Images and class names through a frozen backbone."""

from workflow.lib.encoding import no_compiler

no_compiler.install()
