
#!/bin/sh
echo
